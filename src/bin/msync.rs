//! The command line.

fn main() -> std::process::ExitCode {
    makuosan::msync::main()
}
