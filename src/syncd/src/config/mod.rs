//! The configuration. `file` reads it as it was written, `settings` is what it means: what leaves this module is valid.

mod file;
mod removal_limit;
mod settings;
mod values;

pub(crate) use file::load;
pub(crate) use removal_limit::RemovalLimit;
pub(crate) use settings::{Config, Remote, SourceKind, SourceSettings, touch_interval};
