//! The identity of a database, by which a restore is detected: the column `service.origin` holds it.

use super::connection::Transaction;
use super::statement::sql;

/// The identity of a copy made by `backup`.
pub(crate) const BACKUP: &str = "backup";

/// The identity of this database: restoring a dump makes new tables, restoring files and logs a new timeline.
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
