//! `raftctl`: the operator's command line; see [`kontiki_tools::raftctl`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kontiki_tools::raftctl::main()
}
