//! `kontiki-node`: a ready-made node; see [`kontiki_tools::node`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kontiki_tools::node::main()
}
