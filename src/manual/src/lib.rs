//! Manual pages and shell completions, generated from the same table as `--help`, so that they agree.
//!
//! It knows their paths in a package, but not the command line of any program.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

/// The maximum depth of nested commands: `pushkeys-server account add` is two deep.
const DEPTH_MAX: usize = 4;

/// The folder of each shell's completions below the prefix, and what comes before and after the program's name in the file's name.
const COMPLETIONS: [(Shell, &str, &str, &str); 3] = [
    (Shell::Bash, "share/bash-completion/completions", "", ""),
    (Shell::Zsh, "share/zsh/vendor-completions", "_", ""),
    (Shell::Fish, "share/fish/vendor_completions.d", "", ".fish"),
];

/// Writes below `prefix`, such as `/usr`, a page in `section` for `command` and each of its subcommands, and its completions.
pub fn write(mut command: Command, section: &str, prefix: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let completed = without_hidden(&command);
    for (shell, folder, before, after) in COMPLETIONS {
        let mut out = create(&prefix.join(folder), &format!("{before}{name}{after}"))?;
        generate(shell, &mut completed.clone(), &name, &mut out);
        out.flush()?;
    }
    // `help` needs no page.
    command = command.disable_help_subcommand(true);
    command.build();
    write_pages(&command, &name, section, &prefix.join(format!("share/man/man{section}")), DEPTH_MAX)
}

/// `command` without what is hidden from `--help`, which `clap_complete` would offer.
fn without_hidden(command: &Command) -> Command {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned();
    let below = command.get_subcommands().filter(|inner| !inner.is_hide_set()).map(without_hidden);
    let mut completed = Command::new(kept(command.get_name())).args(shown).subcommands(below);
    completed = completed.about(command.get_about().cloned().unwrap_or_default());
    match command.get_version() {
        Some(version) => completed.version(kept(version)),
        None => completed,
    }
}

/// Leaks `name`, since clap takes only static names unless built otherwise; the process writes a package's files and exits.
fn kept(name: &str) -> &'static str {
    name.to_owned().leak()
}

fn write_pages(command: &Command, name: &str, section: &str, folder: &Path, depth: usize) -> io::Result<()> {
    let mut out = create(folder, &format!("{name}.{section}"))?;
    write_page(command, name, section, &mut out)?;
    out.flush()?;
    let shown = command.get_subcommands().filter(|inner| !inner.is_hide_set() && depth > 0);
    for inner in shown {
        write_pages(
            inner,
            &format!("{name}-{}", inner.get_name()),
            section,
            folder,
            depth.saturating_sub(1),
        )?;
    }
    Ok(())
}

fn write_page(command: &Command, name: &str, section: &str, out: &mut dyn Write) -> io::Result<()> {
    let named = command.clone().display_name(name.to_owned());
    let man = Man::new(named).title(name).section(section).source("pushkeys").manual("pushkeys");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.get_subcommands().any(|inner| !inner.is_hide_set()) {
        man.render_subcommands_section(out)?;
    }
    if let Some(notes) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        write_notes(&notes.to_string(), out)?;
    }
    Ok(())
}

/// Writes the notes below the options in `--help`: sentences are filled to the page's width, and indented lines, such as
/// examples, stay as they are.
fn write_notes(notes: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b".SH NOTES\n")?;
    let mut is_filled = true;
    for line in notes.lines() {
        let is_sentence = !line.starts_with(' ');
        if is_sentence != is_filled && !line.is_empty() {
            out.write_all(if is_sentence { b".fi\n" } else { b".nf\n" })?;
            is_filled = is_sentence;
        }
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        writeln!(out, "{guard}{line}")?;
    }
    if is_filled { Ok(()) } else { out.write_all(b".fi\n") }
}

fn create(folder: &Path, name: &str) -> io::Result<BufWriter<File>> {
    fs::create_dir_all(folder)?;
    Ok(BufWriter::new(File::create(folder.join(name))?))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn every_command_has_a_page_and_hidden_ones_have_none() {
        let folder = tempfile::tempdir().unwrap();
        let add = Command::new("add")
            .about("Adds")
            .arg(Arg::new("name").long("name"))
            .after_help("a\n.b\\c\n  d\n  e\n\nf");
        let account = Command::new("account").about("Accounts").subcommand(add);
        let secret = Command::new("secret").hide(true);
        let concealed = Arg::new("concealed").long("concealed").hide(true);
        let tool = Command::new("tool").about("A tool").version("1").arg(concealed);
        write(tool.subcommands([account, secret]), "8", folder.path()).unwrap();
        let pages = folder.path().join("share/man/man8");
        let page = |name: &str| fs::read_to_string(pages.join(name));
        assert!(page("tool.8").unwrap().contains("tool\\-account"));
        assert!(page("tool-account-add.8").unwrap().contains("\\-\\-name"));
        assert!(page("tool-account-add.8").unwrap().ends_with("\na\n\\&.b\\ec\n.nf\n  d\n  e\n\n.fi\nf\n"));
        assert!(page("tool-secret.8").is_err() && page("tool-help.8").is_err());
        assert!(!page("tool.8").unwrap().contains("secret"));
        for (_, place, before, after) in COMPLETIONS {
            let path = folder.path().join(place).join(format!("{before}tool{after}"));
            let completions = fs::read_to_string(path).unwrap();
            assert!(completions.contains("name") && completions.contains("version"), "{place}");
            assert!(!completions.contains("secret") && !completions.contains("concealed"), "{place}");
        }
    }
}
