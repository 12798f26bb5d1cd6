//! `dev`: the project's automation behind the `./dev` script; see [`kontiki_tools::dev`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kontiki_tools::dev::main()
}
