//! The other files of the packages.

use std::path::Path;
use std::process::Command;

use pushkeys_tests::{Room, run};

#[test]
fn the_programs_of_sshd_link_only_the_listed_crates() {
    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let finished = run(Command::new(repository.join("scripts/linked-crates")).arg("--check"));
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
}

#[test]
fn the_apparmor_profiles_compile() {
    let check = |path: &Path| {
        run(Command::new("apparmor_parser").args(["--skip-kernel-load", "--skip-cache"]).arg(path))
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/apparmor/pushkeys");
    let finished = check(&path);
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    let text = std::fs::read_to_string(&path).expect("a profile").replace("/dev/null rw,", "/dev/null rv,");
    assert!(!check(&Room::temporary().write("wrong", &text)).status.success(), "a mistake would be reported");
}

#[test]
fn the_selinux_module_compiles() {
    let room = Room::temporary();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/selinux");
    let (module, package) = (room.join("pushkeys.mod"), room.join("pushkeys.pp"));
    let mut compile = Command::new("checkmodule");
    compile.args(["-M", "-m", "-o"]).arg(&module).arg(source.join("pushkeys.te"));
    let _ = run(&mut compile).output();
    let mut pack = Command::new("semodule_package");
    pack.arg("-o").arg(&package).arg("-m").arg(&module).arg("-f").arg(source.join("pushkeys.fc"));
    let _ = run(&mut pack).output();
    assert!(package.exists());
}
