//! Prints each crate's modules with their lines of code and dependencies, and violations of the rules in
//! `tests/tests/architecture.rs`: `make architecture`.

use std::process::ExitCode;

use pushkeys_tests::architecture::{SERVER_STACK, crates};

fn main() -> ExitCode {
    let (mut total, mut faults) = (0, Vec::new());
    for (name, imports) in crates() {
        println!("{:>8}  {name}", imports.lines());
        println!("{imports}");
        total += imports.lines();
        let upward = if name == "server" { imports.upward(&SERVER_STACK) } else { Vec::new() };
        faults.extend(imports.circles().into_iter().chain(upward).map(|fault| format!("{name}: {fault}")));
    }
    println!("{total:>8}  lines of code outside tests");
    for fault in &faults {
        println!("{fault}");
    }
    println!("{} faults", faults.len());
    ExitCode::from(u8::from(!faults.is_empty()))
}
