//! The `kvet` command. Everything is in the library.

fn main() -> std::process::ExitCode {
    kvet::cmd::main()
}
