//! The dependencies between the modules of a crate, read from its sources, and the rules for them: no cycle in any crate, and no
//! module of the server that uses one above it.
//!
//! A module is a file. Code in tests does not count, nor do re-exports: a name leads to the module that
//! defines it, regardless of the path. Methods and traits are invisible unless a path names them.

mod circles;
mod modules;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};

use circles::{Circle, Uses, circles, shown};
use modules::{Modules, Place, Target};

/// A crate's modules and their dependencies on each other.
#[derive(Debug)]
pub struct Imports {
    /// The lines of code in each file, without tests.
    lines: BTreeMap<Place, usize>,
    /// The dependencies of each file, each with the first name that is used.
    uses: Uses,
}

/// The layers of a crate from the lowest to the highest, each with its name and its modules.
pub type Stack = [(&'static str, &'static [&'static str])];

/// The layers of the server, as in ARCHITECTURE.md.
pub const SERVER_STACK: [(&str, &[&str]); 7] = [
    (
        "leaves",
        &[
            "client_address",
            "code_flow",
            "concurrency",
            "encryption",
            "files",
            "http_rules",
            "language",
            "origin",
            "outbound",
            "password",
            "percent",
            "proof",
            "push_host",
            "rate_limit",
            "request_id",
            "secret",
            "tls",
            "values",
        ],
    ),
    ("database", &["database"]),
    ("store", &["store"]),
    ("services", &["auth", "github", "listen", "mail", "metrics", "oidc"]),
    ("faces", &["api", "console", "host_feed"]),
    ("configuration", &["config"]),
    ("commands", &["commands"]),
];

/// The crates of `src/` by their folders, where a folder with a library and a program has two, and the tests' library.
#[must_use]
pub fn crates() -> Vec<(String, Imports)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let folders = fs::read_dir(&folder).expect("the crates' folder");
    let mut roots: Vec<(String, PathBuf)> = folders
        .flat_map(|entry| {
            let entry = entry.expect("the crates' folder");
            let name = entry.file_name().to_string_lossy().into_owned();
            let source = entry.path().join("src");
            let is_both = source.join("lib.rs").is_file() && source.join("main.rs").is_file();
            let program = if is_both { format!("{name}'s program") } else { name.clone() };
            [(name, source.join("lib.rs")), (program, source.join("main.rs"))]
        })
        .filter(|(_, root)| root.is_file())
        .collect();
    roots.push(("tests".to_owned(), Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")));
    roots.sort();
    roots.into_iter().map(|(name, root)| (name, Imports::read(&root))).collect()
}

impl Imports {
    /// The modules of the crate whose root is the file `root`; panics if it is not Rust.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let modules = Modules::read(root);
        let mut imports = Self { lines: BTreeMap::new(), uses: BTreeMap::new() };
        for (place, module) in &modules.0 {
            if *place == module.file {
                imports.lines.insert(place.clone(), module.lines);
            }
            for path in &module.used {
                let Target::ItemOf(target) = modules.resolve(place, path) else { continue };
                let Some(target) = modules.0.get(&target) else { continue };
                if target.file != module.file {
                    let of_file = imports.uses.entry(module.file.clone()).or_default();
                    of_file
                        .entry(target.file.clone())
                        .or_insert_with(|| path.last().cloned().unwrap_or_default());
                }
            }
        }
        imports
    }

    /// Lines of code without tests.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines.values().sum()
    }

    /// The cycles between files, and between sibling modules with their submodules. One sentence for each.
    #[must_use]
    pub fn circles(&self) -> Vec<String> {
        let mut found = circles(&self.uses);
        for parent in self.lines.keys() {
            let between = self.between_neighbours(parent);
            let more =
                circles(&between).into_iter().filter(|circle| !found.contains(circle)).collect::<Vec<_>>();
            found.extend(more);
        }
        found.iter().map(Circle::to_string).collect()
    }

    /// The dependencies between the modules directly below `parent`, each with its submodules.
    fn between_neighbours(&self, parent: &Place) -> Uses {
        let neighbour = |place: &Place| {
            let is_below = place.len() > parent.len() && place.starts_with(parent);
            is_below.then(|| place.iter().take(parent.len() + 1).cloned().collect::<Place>())
        };
        let mut between = Uses::new();
        for (from, targets) in &self.uses {
            for (to, path) in targets {
                let Some((from, to)) = neighbour(from).zip(neighbour(to)) else { continue };
                if from != to {
                    between.entry(from).or_default().insert(to, path.clone());
                }
            }
        }
        between
    }

    /// Modules that use a layer above their own, and differences from `stack`.
    #[must_use]
    pub fn upward(&self, stack: &Stack) -> Vec<String> {
        let layer = |place: &Place| {
            let module = place.first()?;
            stack.iter().position(|(_, modules)| modules.contains(&module.as_str()))
        };
        let mut found = Vec::new();
        let tops: BTreeSet<&String> = self.lines.keys().filter_map(|place| place.first()).collect();
        for (name, module) in
            stack.iter().flat_map(|(name, modules)| modules.iter().map(move |module| (name, module)))
        {
            if !tops.contains(&(*module).to_owned()) {
                found.push(format!("layer {name} names `{module}`, which is no module"));
            }
        }
        for top in tops {
            if layer(&vec![top.clone()]).is_none() {
                found.push(format!("`{top}` is in no layer"));
            }
        }
        for (from, targets) in &self.uses {
            for (to, path) in targets {
                if layer(from).zip(layer(to)).is_some_and(|(from, to)| from < to) {
                    found.push(format!("upward: {} uses {} ({path})", shown(from), shown(to)));
                }
            }
        }
        found
    }
}

/// Each top-level module with its lines and its dependencies, those without dependencies first.
impl Display for Imports {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let top = |place: &Place| place.first().map_or_else(|| shown(place), Clone::clone);
        let mut rest: BTreeMap<String, (usize, BTreeSet<String>)> = BTreeMap::new();
        for (place, lines) in &self.lines {
            let (name, used) = (top(place), self.uses.get(place));
            let row = rest.entry(name.clone()).or_default();
            row.0 += lines;
            row.1.extend(used.into_iter().flat_map(BTreeMap::keys).map(top).filter(|used| *used != name));
        }
        while !rest.is_empty() {
            let is_ground = |used: &BTreeSet<String>| used.iter().all(|used| !rest.contains_key(used));
            let (mut ready, mut above): (BTreeMap<_, _>, BTreeMap<_, _>) =
                rest.clone().into_iter().partition(|(_, (_, used))| is_ground(used));
            if ready.is_empty() {
                std::mem::swap(&mut ready, &mut above);
            }
            for (name, (lines, used)) in ready {
                let used =
                    if used.is_empty() { "nothing".to_owned() } else { Vec::from_iter(used).join(", ") };
                writeln!(out, "{lines:>8}  {name} -> {used}")?;
            }
            rest = above;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Room;

    /// The crate with these files, the first of which is its root.
    fn imports(files: &[(&str, &str)]) -> Imports {
        let room = Room::temporary();
        for (name, text) in files {
            let path = room.join(name);
            fs::create_dir_all(path.parent().expect("in the room")).expect("own directory");
            fs::write(path, text).expect("own directory");
        }
        Imports::read(&room.join(files[0].0))
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], circles: &[&str]) {
        assert_eq!(imports(files).circles(), circles);
    }

    #[test]
    fn dependencies_in_one_direction_are_no_cycle() {
        let root = ("lib.rs", "mod key;\nmod store;\npub use store::Store;");
        let key = ("key.rs", "pub struct Key;");
        check(&[root, key, ("store.rs", "use crate::key::Key;\npub struct Store(Key);")], &[]);
    }

    #[test]
    fn two_files_that_use_each_other_are_a_cycle() {
        let back = [
            ("use crate::store::Store;\npub struct Key(Store);", "Store"),
            ("use super::{store::{self, Store}};\npub struct Key(Store);", "Store"),
            ("use crate::Store;\npub struct Key(Store);", "Store"),
            ("use crate::store as kept;\npub struct Key(kept::Store);", "Store"),
            ("use super::*;\npub struct Key(Store);", "Store"),
            ("pub struct Key(crate::store::Store);", "Store"),
            ("pub struct Key;\nfn made() { println!(\"{}\", crate::store::made()) }", "made"),
            ("#[serde(default = \"crate::store::made\")]\npub struct Key;", "made"),
            ("pub struct Key;\nmod inner { fn made() { super::super::store::made() } }", "made"),
        ];
        for (key, name) in back {
            let root = ("lib.rs", "mod key;\nmod store;\npub use store::Store;");
            let store = ("store.rs", "use crate::key::Key;\npub struct Store(Key);\npub fn made() {}");
            let expected = format!("circle of 2: key -> ({name}) store -> (Key) key");
            check(&[root, ("key.rs", key), store], &[&expected]);
        }
    }

    #[test]
    fn tests_comments_fields_and_methods_are_ignored() {
        let root = ("lib.rs", "mod key;\nmod store;\npub use store::Store;");
        let key = "//! [`crate::store::Store`]\npub struct Key { store: u8 }\nfn made(key: Key) -> u8 { key.store.Store() }\n\
                   #[cfg(test)]\nmod tests { use crate::store::Store; }\n\
                   impl Key { #[cfg(test)] fn tested() { crate::store::made() } }";
        let store = ("store.rs", "use crate::key::Key;\npub struct Store(Key);\npub fn made() {}");
        check(&[root, ("key.rs", key), store], &[]);
    }

    #[test]
    fn a_parent_is_in_a_cycle_only_if_it_has_code() {
        let root = ("lib.rs", "mod store;");
        let keys = ("store/keys.rs", "use super::Error;\npub struct Keys(Error);");
        let error = ("store/error.rs", "pub struct Error;");
        let parent = "mod error;\nmod keys;\npub use error::Error;\npub use keys::Keys;\n";
        check(&[root, ("store/mod.rs", parent), keys, error], &[]);

        let parent = "mod keys;\npub use keys::Keys;\npub struct Error;";
        check(&[root, ("store/mod.rs", parent), keys], &[]);
        let parent = "mod keys;\npub use keys::Keys;\npub struct Error;\npub fn all() -> Keys { todo!() }";
        let circle = "circle of 2: store -> (Keys) store::keys -> (Error) store";
        check(&[root, ("store/mod.rs", parent), keys], &[circle]);
    }

    #[test]
    fn folders_that_use_each_other_are_a_cycle() {
        check(
            &[
                ("main.rs", "mod api;\nmod store;"),
                ("api/mod.rs", "pub mod face;\npub mod limits;"),
                ("api/face.rs", "fn serve() { crate::store::keys::read() }"),
                ("api/limits.rs", "pub const MAX: u8 = 1;"),
                ("store/mod.rs", "pub mod keys;\npub mod open;"),
                ("store/keys.rs", "pub fn read() {}"),
                ("store/open.rs", "const MAX: u8 = crate::api::limits::MAX;"),
            ],
            &["circle of 2: api -> (read) store -> (MAX) api"],
        );
    }

    #[test]
    fn upward_dependencies_and_missing_modules_are_found() {
        let files = [
            ("lib.rs", "mod api;\nmod store;\nmod seal;"),
            ("api.rs", "pub fn name() { crate::store::open() }"),
            ("store.rs", "pub fn open() {}"),
            ("seal.rs", "fn seal() { crate::api::name() }"),
        ];
        let imports = imports(&files);
        assert_eq!(imports.upward(&[("ground", &["store"]), ("faces", &["api", "seal"])]), [] as [String; 0]);
        assert_eq!(
            imports.upward(&[("ground", &["seal"]), ("faces", &["api", "web"])]),
            [
                "layer faces names `web`, which is no module",
                "`store` is in no layer",
                "upward: seal uses api (name)"
            ]
        );
    }

    #[test]
    fn lines_of_code_exclude_blanks_comments_and_tests() {
        let text = "//! What.\n\n/// Why.\n#[derive(Debug)]\npub struct Key;\n\n// So.\nconst TEXT: &str = \"a\n\
                    b\";\n#[cfg(test)]\nmod tests {\n    fn test() {}\n}\n";
        assert_eq!(imports(&[("lib.rs", text)]).lines(), 4);
    }
}
