//! The flags from before there were commands. They go on to work in this version.

use std::ffi::OsString;

/// The flags, and what each of them is called now.
const COMMANDS: [(&str, &str); 4] =
    [("--check", "check"), ("--once", "sync-once"), ("--compare", "compare"), ("--manual", "manual")];

/// `arguments`, of which the first is the program's name, with the first such flag replaced by its command.
pub(super) fn to_commands(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = |argument: &OsString| COMMANDS.iter().find(|(flag, _)| *flag == argument);
    let found = arguments.iter().enumerate().find_map(|(at, argument)| Some((at, command(argument)?.1)));
    if let Some((at, command)) = found {
        arguments.remove(at);
        arguments.insert(1, command.into());
    }
    arguments
}
