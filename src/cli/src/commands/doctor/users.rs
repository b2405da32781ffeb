//! The users that a login passes through, as the system's databases have them.

use std::path::Path;

use jiff::Timestamp;
use pushkeys_files::Trust;
use pushkeys_keys::shell_word;

use super::finding::Finding;
use crate::accounts::{Shadow, User};

/// Shells that run a forced command and nothing before it.
const SHELLS: &[&str] = &["sh", "dash"];
/// Shells that run none.
const NO_SHELLS: &[&str] = &["nologin", "false", "git-shell"];

/// While one of these exists, only root can log in: sshd asks for the first, `pam_nologin` for both.
pub(super) const NO_LOGINS: [&str; 2] = ["/etc/nologin", "/run/nologin"];

/// What is wrong with the user that sessions run as.
pub(super) fn check_login(
    user: &User,
    shadow: Option<&Shadow>,
    uses_pam: bool,
    now: Timestamp,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = check_shell(user).into_iter().collect();
    if user.uid == 0 {
        let what = format!("the login `{}` is root by another name", user.name);
        findings.push(Finding::error("login-user", what, "every session would run as root"));
    }
    if let Some(shadow) = shadow {
        findings.extend(check_shadow(user, shadow, uses_pam, now));
    }
    findings
}

fn check_shell(user: &User) -> Option<Finding> {
    let name = Path::new(&user.shell).file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    if name.is_empty() || SHELLS.contains(&name.as_str()) {
        // passwd(5): an empty field is /bin/sh.
        return None;
    }
    let what = format!("the shell of `{}` is `{}`", user.name, pushkeys_keys::escape(&user.shell));
    let finding = if NO_SHELLS.contains(&name.as_str()) {
        Finding::error("login-shell", what, "it runs no forced command, so every session ends at once")
    } else if name == "pushkeys-shell" {
        let why = "a line without a command of its own would let its client name an account: identity must only ever come \
                   from the line";
        Finding::error("login-shell", what, why)
    } else {
        let why = "sshd runs the forced command by it, and bash and others read ~/.bashrc or a file of their own first";
        Finding::warning("login-shell", what, why)
    };
    Some(finding.cured_by(format!("usermod --shell /bin/sh {}", shell_word(&user.name))))
}

fn check_shadow(user: &User, shadow: &Shadow, uses_pam: bool, now: Timestamp) -> Vec<Finding> {
    let name = shell_word(&user.name);
    let mut findings = Vec::new();
    if shadow.password.starts_with('!') && !uses_pam {
        let what = format!(
            "the account `{}` is locked (its password begins with `!`), and `UsePAM` is no",
            user.name
        );
        let why = "without PAM sshd refuses locked accounts, whatever their keys";
        findings.push(
            Finding::error("login-locked", what, why).cured_by(format!("usermod --password '*' {name}")),
        );
    }
    if shadow.password.is_empty() {
        let what = format!("the account `{}` has an empty password", user.name);
        let why = "whatever asks for a password lets everybody in";
        findings.push(
            Finding::error("login-password", what, why).cured_by(format!("usermod --password '*' {name}")),
        );
    }
    let today = now.as_second().div_euclid(86_400);
    if shadow.expires_day.is_some_and(|day| day <= today) {
        let what = format!("the account `{}` has expired", user.name);
        let why = "sshd and PAM refuse expired accounts, whatever their keys";
        findings.push(
            Finding::error("login-expired", what, why).cured_by(format!("usermod --expiredate '' {name}")),
        );
    }
    findings
}

/// Whether the host is closed for everybody but root.
pub(super) fn check_nologin(paths: &[&Path]) -> Vec<Finding> {
    let why = "while it exists only root can log in, and other users are shown what is in it";
    let closed = paths.iter().filter(|path| path.exists()).map(|path| {
        Finding::error("nologin", format!("there is a `{}`", path.display()), why)
            .cured_by(format!("rm {}", shell_word(&path.to_string_lossy())))
    });
    closed.collect()
}

/// What is wrong with the home of the login: nothing in it may be the login's own idea.
pub(super) fn check_home(user: &User) -> Vec<Finding> {
    let home = &user.home;
    let shown = shell_word(&home.to_string_lossy());
    if !home.exists() {
        let what = format!("the home of `{}`, `{}`, is not there", user.name, home.display());
        let why = "sshd says so to every client, and starts the forced command in `/`";
        return vec![
            Finding::warning("login-home", what, why).cured_by(format!("install -d -m 0755 {shown}")),
        ];
    }
    let mut findings = Vec::new();
    if pushkeys_files::check(home, Trust::ROOT).is_err() {
        let what =
            format!("the home `{}` can be written by `{}` or by others than root", home.display(), user.name);
        let why = "a file that lands in there, such as .ssh/rc or .bashrc, is run for everybody who logs in";
        findings.push(
            Finding::error("login-home", what, why)
                .cured_by(format!("chown root {shown} && chmod go-w {shown}")),
        );
    }
    for stray in [".ssh/authorized_keys", ".ssh/authorized_keys2", ".ssh/environment", ".ssh/rc"] {
        let path = home.join(stray);
        if path.exists() {
            let what = format!("there is a `{}`", path.display());
            let why =
                "nothing should read it, and it gives a shell or a variable on the day that something does";
            let cure = format!("rm {}", shell_word(&path.to_string_lossy()));
            findings.push(Finding::warning("login-home", what, why).cured_by(cure));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PASSWD: &str = "git:x:994:993::/var/lib/pushkeys/git:/bin/sh\n";
    const SHADOW: &str = "git:*:20781::::::\n";
    const NOW: i64 = 1_800_000_000;

    /// Checks what is found of a login that was changed, beside the login as it should be.
    #[track_caller]
    fn check(passwd: (&str, &str), shadow: (&str, &str), uses_pam: bool, expected: &[&str]) {
        let find = |passwd: &str, shadow: &str| {
            let shadow = Shadow::parse(shadow).unwrap();
            let user = User::parse(passwd).unwrap();
            check_login(&user, Some(&shadow), uses_pam, Timestamp::from_second(NOW).unwrap())
        };
        assert_eq!(find(PASSWD, SHADOW), []);
        let changed = find(&PASSWD.replace(passwd.0, passwd.1), &SHADOW.replace(shadow.0, shadow.1));
        assert_eq!(changed.iter().map(|finding| finding.check).collect::<Vec<_>>(), expected);
        assert!(changed.iter().all(|finding| finding.cure.is_some() || finding.check == "login-user"));
    }

    #[test]
    fn a_login_that_cannot_run_a_forced_command_is_wrong() {
        let same = ("x", "x");
        check(("/bin/sh", "/usr/sbin/nologin"), same, true, &["login-shell"]);
        check(("/bin/sh", "/bin/false"), same, true, &["login-shell"]);
        check(("/bin/sh", "/bin/bash"), same, true, &["login-shell"]);
        check(("/bin/sh", "/usr/libexec/pushkeys/pushkeys-shell"), same, true, &["login-shell"]);
        check(("/bin/sh", "/bin/dash"), same, true, &[]);
        check(("/bin/sh", ""), same, true, &[]);
        check(("994", "0"), same, true, &["login-user"]);
    }

    #[test]
    fn an_account_that_is_locked_or_expired_is_wrong() {
        let same = ("x", "x");
        check(same, (":*:", ":!:"), false, &["login-locked"]);
        check(same, (":*:", ":!*:"), false, &["login-locked"]);
        check(same, (":*:", ":!:"), true, &[]);
        check(same, (":*:", "::"), true, &["login-password"]);
        check(same, ("::::::", ":::::20000:"), true, &["login-expired"]);
        check(same, ("::::::", ":::::30000:"), true, &[]);
    }

    #[test]
    fn a_host_that_is_closed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nologin");
        assert_eq!(check_nologin(&[&path]), []);
        fs::write(&path, "back at noon").unwrap();
        assert_eq!(check_nologin(&[&path]).len(), 1);
    }

    #[test]
    fn a_home_of_the_logins_own_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let user = User { home: home.clone(), ..User::parse(PASSWD).unwrap() };
        let words = |user: &User| -> Vec<String> {
            check_home(user).into_iter().map(|finding| finding.what).collect()
        };
        assert!(words(&user)[0].contains("is not there"));
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(words(&user), [] as [&str; 0]);
        fs::set_permissions(&home, Permissions::from_mode(0o775)).unwrap();
        assert!(words(&user)[0].contains("can be written"));
        fs::set_permissions(&home, Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&home, Some(user.uid), None).unwrap();
        assert!(words(&user)[0].contains("can be written"));
        std::os::unix::fs::chown(&home, Some(0), None).unwrap();
        fs::create_dir(home.join(".ssh")).unwrap();
        fs::write(home.join(".ssh/authorized_keys"), "").unwrap();
        assert!(words(&user)[0].contains(".ssh/authorized_keys"));
    }
}
