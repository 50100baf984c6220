//! Parse, call, exit code. Everything else is in the library.

fn main() -> std::process::ExitCode {
    rollbook::cli::main()
}
