//! The template of repositories' paths below the root.

use std::path::{Component, Path, PathBuf};

use pushkeys_keys::AccountId;
use serde::Deserialize;

use crate::request::RepositoryName;

const ACCOUNT: &str = "{account}";
const REPOSITORY: &str = "{repository}";

/// A relative path with `{repository}`, and with `{account}` unless accounts share their repositories.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct PathTemplate(String);

impl Default for PathTemplate {
    fn default() -> Self {
        Self("{account}/{repository}.git".to_owned())
    }
}

impl PathTemplate {
    /// The path of `repository` of `account` below the root.
    pub(crate) fn expand(&self, account: &AccountId, repository: &RepositoryName) -> PathBuf {
        // Neither value can contain a brace.
        self.of_account(account).replace(REPOSITORY, repository.as_str()).into()
    }

    /// Whether each account has its own repositories.
    pub(crate) fn is_by_account(&self) -> bool {
        self.0.contains(ACCOUNT)
    }

    /// The folder below the root that has all repositories of `account` and no others, if there is one.
    pub(crate) fn account_folder(&self, account: &AccountId) -> Option<PathBuf> {
        let folder = self.folder();
        folder.contains(ACCOUNT).then(|| folder.replace(ACCOUNT, account.as_str()).into())
    }

    /// The name of the repository of `account` whose path below the root is `path`, if it has that form.
    pub(crate) fn name_of(&self, account: &AccountId, path: &Path) -> Option<RepositoryName> {
        let text = self.of_account(account);
        let (before, after) = text.split_once(REPOSITORY)?;
        path.to_str()?.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
    }

    /// The template up to the last `/` before the repository's name.
    fn folder(&self) -> &str {
        let before = self.0.split(REPOSITORY).next().unwrap_or_default();
        before.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    fn of_account(&self, account: &AccountId) -> String {
        self.0.replace(ACCOUNT, account.as_str())
    }
}

impl TryFrom<String> for PathTemplate {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let literal = text.replace(ACCOUNT, "a").replace(REPOSITORY, "r");
        if text.matches(REPOSITORY).count() != 1 {
            return Err("`path` contains `{repository}` once");
        }
        if literal.contains(['{', '}']) {
            return Err("`path` knows `{account}` and `{repository}` only");
        }
        let is_clean = Path::new(&literal).components().all(|part| matches!(part, Component::Normal(_)));
        if is_clean { Ok(Self(text)) } else { Err("`path` is relative, and without `.` and `..`") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_maps_names_to_paths_and_back() {
        let (account, repository) = ("acct_7".parse().unwrap(), "team/app".parse().unwrap());
        let check = |template: &str, path: &str, folder: Option<&str>| {
            let template = PathTemplate::try_from(template.to_owned()).unwrap();
            assert_eq!(template.expand(&account, &repository), Path::new(path));
            assert_eq!(template.name_of(&account, Path::new(path)), Some(repository.clone()));
            assert_eq!(template.account_folder(&account), folder.map(PathBuf::from));
            for other in ["", "acct_8/team/app.git", "acct_7", "x/acct_7/a.git/hooks"] {
                assert_eq!(template.name_of(&account, Path::new(other)), None, "{other}");
            }
        };
        check("{account}/{repository}.git", "acct_7/team/app.git", Some("acct_7"));
        check("a/of-{account}/r-{repository}.git", "a/of-acct_7/r-team/app.git", Some("a/of-acct_7"));
        check("x/{repository}.git", "x/team/app.git", None);
        check("x/{account}-{repository}.git", "x/acct_7-team/app.git", None);
    }
}
