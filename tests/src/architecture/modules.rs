//! The modules of a crate, and the module that a path leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::{Item, UseTree, Visibility};

use super::source::{code_lines, outside_tests, paths};

/// A module's path in its crate: `["store", "keys"]`; empty for the root.
pub(super) type Place = Vec<String>;

/// Chains of re-exports are shorter than this in crates that compile.
const REEXPORTS_MAX: usize = 16;

/// The target of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Module(Place),
    /// An item that this module defines.
    ItemOf(Place),
    AnotherCrate,
}

/// The contents of a module; `file` is the module of its file.
#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) file: Place,
    /// Lines of code without tests in the whole file; 0 if the file belongs to another module.
    pub(super) lines: usize,
    /// The paths that it uses, including private imports, without re-exports.
    pub(super) used: BTreeSet<Vec<String>>,
    children: BTreeSet<String>,
    defined: BTreeSet<String>,
    /// Names introduced by `use`, with their paths.
    imported: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

/// The modules of a crate by their paths.
#[derive(Debug, Default)]
pub(super) struct Modules(pub(super) BTreeMap<Place, Module>);

impl Modules {
    /// The modules of the crate whose root is the file `root`.
    pub(super) fn read(root: &Path) -> Self {
        let mut modules = Self::default();
        modules.read_file(root, root.parent().expect("a file is in a folder"), Vec::new());
        modules
    }

    /// Reads the module `place` from the file `path`; its children are in `folder`.
    fn read_file(&mut self, path: &Path, folder: &Path, place: Place) {
        let text = fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()));
        let tokens: TokenStream =
            text.parse().unwrap_or_else(|error| panic!("`{}` is not Rust: {error}", path.display()));
        let tokens = outside_tests(tokens);
        let lines = code_lines(&tokens).len();
        let file =
            syn::parse2(tokens).unwrap_or_else(|error| panic!("`{}` is not Rust: {error}", path.display()));
        let syn::File { items, .. } = file;
        self.read_items(items, folder, place.clone(), &place);
        self.0.entry(place).or_default().lines = lines;
    }

    fn read_items(&mut self, items: Vec<Item>, folder: &Path, place: Place, file: &Place) {
        let mut module = Module { file: file.clone(), ..Module::default() };
        for item in items {
            match item {
                Item::Mod(child) => {
                    let name = child.ident.to_string();
                    module.children.insert(name.clone());
                    let below = [place.clone(), vec![name.clone()]].concat();
                    let folder_below = folder.join(&name);
                    if let Some((_, items)) = child.content {
                        self.read_items(items, &folder_below, below, file);
                    } else {
                        let (path, whole): (PathBuf, PathBuf) =
                            (folder.join(format!("{name}.rs")), folder_below.join("mod.rs"));
                        self.read_file(if path.is_file() { &path } else { &whole }, &folder_below, below);
                    }
                }
                Item::Use(import) => {
                    let is_reexport = !matches!(import.vis, Visibility::Inherited);
                    module.add_use(&import.tree, &[], is_reexport);
                }
                item => {
                    module.defined.extend(name(&item));
                    module.used.extend(paths(&item.into_token_stream()));
                }
            }
        }
        self.0.insert(place, module);
    }

    /// The target of `path` in the module `from`.
    pub(super) fn resolve(&self, from: &Place, path: &[String]) -> Target {
        self.resolve_within(from, path, REEXPORTS_MAX)
    }

    fn resolve_within(&self, from: &Place, path: &[String], reexports_left: usize) -> Target {
        let Some((first, mut rest)) = path.split_first() else { return Target::Module(from.clone()) };
        let mut at = match first.as_str() {
            "crate" => Place::new(),
            "self" => from.clone(),
            "super" => above(from),
            name => match self.look(from, name, rest.is_empty(), reexports_left) {
                Some(Target::Module(place)) => place,
                Some(found) => return found,
                None => return Target::AnotherCrate,
            },
        };
        while let Some((name, after)) = rest.split_first() {
            at = match name.as_str() {
                "super" => above(&at),
                "self" => at,
                name => match self.look(&at, name, after.is_empty(), reexports_left) {
                    Some(Target::Module(place)) => place,
                    Some(found) => return found,
                    // A macro may have defined it.
                    None => return Target::ItemOf(at),
                },
            };
            rest = after;
        }
        Target::Module(at)
    }

    /// The meaning of `name` in the module `at`. At the end of a path, an item takes precedence over a module of the same name.
    fn look(&self, at: &Place, name: &str, ends_path: bool, reexports_left: usize) -> Option<Target> {
        let module = self.0.get(at)?;
        let reexports_left = reexports_left.checked_sub(1)?;
        let child = module
            .children
            .contains(name)
            .then(|| Target::Module([at.clone(), vec![name.to_owned()]].concat()));
        if child.is_some() && !ends_path {
            return child;
        }
        if module.defined.contains(name) {
            return Some(Target::ItemOf(at.clone()));
        }
        if let Some(path) = module.imported.get(name) {
            return Some(self.resolve_within(at, path, reexports_left));
        }
        child.or_else(|| {
            module.globs.iter().find_map(|path| match self.resolve_within(at, path, reexports_left) {
                Target::Module(place) => self.look(&place, name, ends_path, reexports_left),
                Target::ItemOf(_) | Target::AnotherCrate => None,
            })
        })
    }
}

impl Module {
    fn add_use(&mut self, tree: &UseTree, before: &[String], is_reexport: bool) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.add_use(&path.tree, &with(path.ident.to_string()), is_reexport),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, before, is_reexport);
                }
            }
            UseTree::Glob(_) => self.globs.push(before.to_vec()),
            UseTree::Name(name) if name.ident == "self" => {
                let last = before.last().cloned();
                self.add_name(last.unwrap_or_default(), before.to_vec(), is_reexport);
            }
            UseTree::Name(name) => {
                self.add_name(name.ident.to_string(), with(name.ident.to_string()), is_reexport);
            }
            UseTree::Rename(rename) => {
                self.add_name(rename.rename.to_string(), with(rename.ident.to_string()), is_reexport);
            }
        }
    }

    fn add_name(&mut self, name: String, path: Vec<String>, is_reexport: bool) {
        if !is_reexport {
            self.used.insert(path.clone());
        }
        self.imported.insert(name, path);
    }
}

fn above(place: &[String]) -> Place {
    place.split_last().map(|(_, above)| above.to_vec()).unwrap_or_default()
}

/// The name that an item defines in its module.
fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
