//! Which accounts are linked to one at GitHub, and which keys came from there.

/// The link of an account.
#[derive(Clone, PartialEq, Eq)]
pub struct GithubLink {
    /// By which GitHub knows its account for ever.
    pub user: i64,
    /// What it went by when it was linked.
    pub login: String,
    /// By which its keys are listed; sealed, since the database may be read by more people than the secret.
    pub sealed_token: Vec<u8>,
}
