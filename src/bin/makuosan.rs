//! The daemon.

fn main() -> std::process::ExitCode {
    makuosan::daemon::main()
}
