//! Whether PostgreSQL confirms what a failover can lose.

use super::connection::Database;
use super::statement::sql;

/// What a commit waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replication {
    /// PostgreSQL's setting of this name.
    pub(crate) synchronous_commit: String,
    /// PostgreSQL's setting of this name.
    pub(crate) synchronous_standby_names: String,
    /// The connected standbys.
    pub(crate) standbys: i64,
}

impl Replication {
    /// Why a commit that was confirmed can be lost; `None` if it cannot, or if there is no standby to fail over to.
    pub(crate) fn risk(&self) -> Option<&'static str> {
        let waits_for_standby = !self.synchronous_standby_names.trim().is_empty();
        match self.synchronous_commit.as_str() {
            "off" => Some(
                "commits are confirmed before they are on disk: a crash can lose changes that users were told of",
            ),
            "local" if waits_for_standby || self.standbys > 0 => Some(NO_STANDBY),
            _ if self.standbys > 0 && !waits_for_standby => Some(NO_STANDBY),
            _ => None,
        }
    }
}

const NO_STANDBY: &str =
    "commits are confirmed before a standby has them: a failover can lose changes that users were told of";

impl Database {
    /// What a commit waits for; `None` of SQLite.
    pub(crate) async fn replication(&self) -> sqlx::Result<Option<Replication>> {
        if matches!(self, Self::Sqlite { .. }) {
            return Ok(None);
        }
        let query =
            "SELECT current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
             (SELECT count(*) FROM pg_stat_replication)";
        let (synchronous_commit, synchronous_standby_names, standbys) = sql(query).fetch_one(self).await?;
        Ok(Some(Replication { synchronous_commit, synchronous_standby_names, standbys }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_can_be_lost_unless_a_standby_has_it_or_there_is_none() {
        let check = |commit: &str, names: &str, standbys: i64, is_risky: bool| {
            let replication = Replication {
                synchronous_commit: commit.to_owned(),
                synchronous_standby_names: names.to_owned(),
                standbys,
            };
            assert_eq!(replication.risk().is_some(), is_risky, "{replication:?}");
        };
        check("on", "", 0, false);
        check("on", "", 1, true);
        check("on", "ANY 1 (a, b)", 2, false);
        check("on", "ANY 1 (a, b)", 0, false);
        check("remote_write", "a", 1, false);
        check("local", "a", 1, true);
        check("local", "", 0, false);
        check("off", "", 0, true);
        check("off", "a", 1, true);
    }
}
