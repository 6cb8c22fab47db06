//! wire

pub mod modindex;
