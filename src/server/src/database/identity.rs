//! Which database this is, by which a restore is noticed: the `origin` column of `service` says where it was.

use super::connection::Transaction;
use super::statement::sql;

/// The origin of a copy that `backup` made.
pub(crate) const BACKUP: &str = "backup";

/// Where this database is. A restore of a dump makes new tables, a restore of files and logs a new timeline.
pub(crate) async fn origin(transaction: &mut Transaction) -> sqlx::Result<String> {
    match transaction {
        Transaction::Sqlite(_) => Ok(String::new()),
        Transaction::Postgres(_) => {
            sql("SELECT concat_ws('/', system_identifier, timeline_id, d.oid, 'service'::regclass::oid)
             FROM pg_control_system(), pg_control_checkpoint(), pg_database d WHERE d.datname = current_database()")
                .fetch_value(transaction)
                .await
        }
    }
}
