//! `configs/kernels.yaml`: which kernel is the default, and where kernels are looked for.
