//! Failovers of PostgreSQL to a standby that did not have the last commits.

use std::mem;

use pushkeys_feed::{Cursor, Event, EventId};
use pushkeys_tests::{Balancer, PostgresDatabase, PostgresServer};
use reqwest::{Method, StatusCode};

use crate::history::header;
use crate::host_feed::register;
use crate::service::{Account, Service, is_on_postgres, new_key, wait_for};

/// A primary with a standby, behind an address that moves, and two replicas of the service.
struct World {
    primary: PostgresServer,
    standby: PostgresServer,
    address: Balancer,
    database: PostgresDatabase,
    replicas: [Service; 2],
}

impl World {
    fn new() -> Self {
        let primary = PostgresServer::start_primary();
        let database = primary.database();
        let standby = PostgresServer::start_standby_of(primary.port());
        let address = Balancer::start(vec![format!("127.0.0.1:{}", primary.port())]);
        let url =
            format!("postgres://postgres@127.0.0.1:{}/{}?sslmode=disable", address.port(), database.name());
        let mut first = Service::start_with("heartbeat = \"500ms\"");
        let mut second = first.replica();
        for service in [&mut first, &mut second] {
            service.stop();
            service.configure_database(&url);
            service.restart();
        }
        Self { primary, standby, address, database, replicas: [first, second] }
    }

    /// Waits until the standby has everything, and cuts it off.
    fn cut_off_the_standby(&self) {
        let end = self.primary.sql("postgres", "SELECT pg_current_wal_lsn()").output();
        let has_it = format!("SELECT pg_last_wal_replay_lsn() >= '{}'::pg_lsn", end.trim());
        wait_for(|| (self.standby.sql("postgres", &has_it).output().trim() == "t").then_some(()));
        for statement in ["ALTER SYSTEM SET primary_conninfo = 'port=1'", "SELECT pg_reload_conf()"] {
            let _ = self.standby.sql("postgres", statement).output();
        }
        let is_cut = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        wait_for(|| (self.standby.sql("postgres", is_cut).output().trim() == "0").then_some(()));
    }

    fn fail_over(&mut self) {
        self.primary.stop_at_once();
        self.address.closes_connections();
        self.address.leads_to(vec![format!("127.0.0.1:{}", self.standby.port())]);
        self.standby.promote();
        mem::swap(&mut self.primary, &mut self.standby);
    }

    /// A standby again.
    fn repair(&mut self) {
        self.standby.follow(self.primary.port());
        let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", self.database.name());
        assert_eq!(self.standby.sql("postgres", &count).output().trim(), "1");
    }
}

/// Repeats a request until it is confirmed.
async fn delete(service: &Service, account: &Account, name: &str) {
    let path = format!("/v2/self/keys/{name}");
    for _ in 0..600 {
        let sent = service.request(Method::DELETE, &path, &account.bearer).send().await;
        if sent.is_ok_and(|response| response.status() == StatusCode::OK) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("`{name}` was not removed");
}

/// Checks that a host at `id` gets a reset, and a snapshot of a later epoch that is consistent.
async fn check_host(service: &Service, host: &str, id: &EventId) {
    let mut stream = service.chained_changes(host, Some(&id.to_string())).await;
    assert_eq!(stream.next().await.unwrap().event.unwrap(), Event::Reset, "{id}");
    let (position, told, found) = header(service, host).await;
    assert!(position.cursor.epoch > id.cursor.epoch, "{position:?} after {id}");
    assert_eq!(told, found);
}

#[tokio::test]
async fn commits_that_a_failover_loses_are_noticed_whoever_saw_them() {
    if !is_on_postgres() {
        return;
    }
    let mut world = World::new();
    // Whether the replicas are restarted, so that only the host knows; which replica is asked; how many commits are lost.
    for (round, (are_restarted, asked, lost)) in
        [(false, 0, 1), (false, 1, 3), (true, 0, 2)].into_iter().enumerate()
    {
        let [first, second] = &world.replicas;
        let (host, ana) = (first.host(&format!("push{round}")), first.account(&format!("ana{round}")));
        register(first, &ana, 6).await;
        let mut stream = second.chained_changes(&host, None).await;
        assert_eq!(stream.next().await.unwrap().event.unwrap(), Event::Reset);
        world.cut_off_the_standby();
        for number in 0..lost {
            let key = new_key(first, &format!("lost{round}-{number}"));
            assert_eq!(first.put(&ana, &format!("lost{number}"), &key).await.0, StatusCode::OK);
        }
        let mut last = None;
        for _ in 0..lost {
            let received = stream.next().await.unwrap();
            last = Some(EventId { cursor: received.id.unwrap(), chain: received.chain });
        }
        let last = last.unwrap();
        if are_restarted {
            world.replicas.iter_mut().for_each(Service::stop);
        }
        world.fail_over();
        if are_restarted {
            world.replicas.iter_mut().for_each(Service::restart);
        }
        let service = &world.replicas[asked];
        // The numbers catch up, and one more.
        for number in 0..=lost {
            delete(service, &ana, &format!("key{number}")).await;
        }
        let now = header(service, &host).await.0;
        assert!(now.cursor.sequence > last.cursor.sequence, "{now:?}");
        assert_eq!(now.cursor.epoch > last.cursor.epoch, !are_restarted, "{now:?}");
        for service in &world.replicas {
            wait_for_answer(service, &host, &now.cursor).await;
        }
        check_host(service, &host, &last).await;
        assert_eq!(service.keys(&ana).await.len(), 5 - lost);
        world.repair();
    }
}

/// Waits until a stream begins: the hub may have to notice a new epoch first.
async fn wait_for_answer(service: &Service, host: &str, at: &Cursor) {
    for _ in 0..600 {
        let request = service.request(Method::GET, pushkeys_feed::CHANGES_PATH, host);
        let sent = request.header(pushkeys_feed::LAST_EVENT_ID, at.to_string()).send().await;
        if sent.is_ok_and(|response| response.status() == StatusCode::OK) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no stream");
}
