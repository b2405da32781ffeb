//! Migrations of the schema. [`super::statement`] says how to add one.

use pushkeys_keys::Hint;
use sqlx::migrate::Migrator;

use super::connection::Database;
use super::error::OpenError;
use super::statement::sql;
use super::url::DatabaseUrl;

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Migrates the schema of `database`, which is at `url`.
pub(super) async fn run(database: &Database, url: &DatabaseUrl) -> Result<(), OpenError> {
    let migrated = match database {
        Database::Sqlite { write, .. } => SQLITE_MIGRATIONS.run(write).await,
        Database::Postgres(primary) => POSTGRES_MIGRATIONS.run(&primary.connections().write).await,
    };
    migrated.map_err(|source| OpenError::Migrate { url: url.clone(), source })
}

/// Checks that the schema of `database`, which is at `url`, is this version's.
pub(super) async fn check(database: &Database, url: &DatabaseUrl) -> Result<(), OpenError> {
    let found: i64 = match sql("SELECT max(version) FROM _sqlx_migrations WHERE success")
        .fetch_value::<Option<i64>>(database)
        .await
    {
        Ok(found) => found.unwrap_or(0),
        Err(error) if is_missing_table(&error) => 0,
        Err(source) => return Err(OpenError::Connect { url: url.clone(), source }),
    };
    let migrations = match database {
        Database::Sqlite { .. } => &SQLITE_MIGRATIONS,
        Database::Postgres(_) => &POSTGRES_MIGRATIONS,
    };
    let expected = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
    if found == expected {
        return Ok(());
    }
    let hint = Hint::new("`pushkeys-server serve` brings an older one up to date");
    Err(OpenError::Schema { url: url.clone(), found, expected, hint })
}

/// PostgreSQL's `undefined_table`; SQLite has nothing but its message.
fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_have_the_same_migrations() {
        let names = |migrator: &Migrator| -> Vec<_> {
            migrator.iter().map(|step| (step.version, step.description.clone())).collect()
        };
        assert_eq!(names(&SQLITE_MIGRATIONS), names(&POSTGRES_MIGRATIONS));
    }
}
