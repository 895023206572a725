//! The program behind `cargo xtask demo`.

use std::process::ExitCode;

use cgn_tests::demo;
use clap::Parser as _;

fn main() -> ExitCode {
    match demo::run(&demo::Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
