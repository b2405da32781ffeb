//! A TCP forwarder with simulated network failures: a load balancer for replicas, or the network to a database.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

const CHUNK_BYTES: usize = 16 * 1024;
/// Closed connections are removed from the list when it is this long.
const KNOWN_MAX: usize = 256;

/// A TCP load balancer: each connection goes to the next target that accepts it.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    network: Arc<Network>,
}

/// The state of the simulated network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkState {
    /// All data passes.
    Clear,
    /// No data passes, but connections stay open: held data passes later, as with retransmissions.
    Held,
    /// Open and new connections silently lose all data, also later: the peer has vanished.
    Lost,
    /// Open connections are closed, and new ones as well.
    Refused,
    /// All data passes with this delay.
    Slow(Duration),
}

#[derive(Debug)]
struct Network {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    condition: NetworkState,
    targets: Vec<String>,
    /// The target that the next connection tries first.
    next: usize,
    /// The number of times that all connections were lost. A connection from before the last time is lost.
    losses: u64,
    open: Vec<TcpStream>,
}

impl Balancer {
    /// Starts a balancer for `targets`, each a host and a port.
    #[must_use]
    pub fn start(targets: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let is_over = Arc::new(AtomicBool::new(false));
        let state = State { condition: NetworkState::Clear, targets, next: 0, losses: 0, open: Vec::new() };
        let network = Arc::new(Network { state: Mutex::new(state), changed: Condvar::new() });
        let (over, between) = (Arc::clone(&is_over), Arc::clone(&network));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                // If no target accepts it, the client's connection is closed.
                let _ = between.admit(client);
            }
        });
        Self { address, is_over, network }
    }

    /// Holds all data. Connections stay open, and new ones are accepted, as when packets are dropped.
    pub fn hold(&self) {
        self.set_network(NetworkState::Held);
    }

    /// Lets all data pass again, including held data.
    pub fn restore(&self) {
        self.set_network(NetworkState::Clear);
    }

    /// Changes the state of the network.
    pub fn set_network(&self, network_state: NetworkState) {
        let mut state = self.network.state();
        state.condition = network_state;
        if network_state == NetworkState::Lost {
            state.losses += 1;
        }
        self.network.changed.notify_all();
        drop(state);
        if network_state == NetworkState::Refused {
            self.closes_connections();
        }
    }

    /// Closes all open connections.
    pub fn closes_connections(&self) {
        for stream in self.network.state().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Sends new connections to `targets`; open ones are not affected.
    pub fn leads_to(&self, targets: Vec<String>) {
        self.network.state().targets = targets;
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.restore();
        // The listener is waiting for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects `client` to the next target that accepts it.
    fn admit(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let (network_state, targets, losses) = {
            let mut state = self.state();
            state.next = state.next.wrapping_add(1);
            let mut targets = state.targets.clone();
            if !targets.is_empty() {
                let first = state.next % targets.len();
                targets.rotate_left(first);
            }
            (state.condition, targets, state.losses)
        };
        match network_state {
            NetworkState::Refused => Ok(()),
            NetworkState::Lost => {
                thread::spawn(move || swallow(client));
                Ok(())
            }
            NetworkState::Clear | NetworkState::Held | NetworkState::Slow(_) => {
                let target = targets.iter().find_map(|target| TcpStream::connect(target).ok());
                let Some(target) = target else { return Ok(()) };
                // The traffic consists of small requests and responses.
                let _ = (client.set_nodelay(true), target.set_nodelay(true));
                self.remember(&client, &target)?;
                for (from, to) in [(client.try_clone()?, target.try_clone()?), (target, client)] {
                    let network = Arc::clone(self);
                    thread::spawn(move || network.carry(from, to, losses));
                }
                Ok(())
            }
        }
    }

    fn remember(&self, client: &TcpStream, target: &TcpStream) -> io::Result<()> {
        let (client, target) = (client.try_clone()?, target.try_clone()?);
        let mut state = self.state();
        if state.open.len() >= KNOWN_MAX {
            state.open.retain(|stream| stream.take_error().is_ok() && stream.peer_addr().is_ok());
        }
        state.open.extend([client, target]);
        Ok(())
    }

    /// Forwards data of `from` to `to`, for a connection that began after `losses`.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, losses: u64) {
        let mut bytes = [0; CHUNK_BYTES];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            if !self.passes(losses) {
                return swallow(from);
            }
            if to.write_all(bytes.get(..length).unwrap_or_default()).is_err() {
                break;
            }
        }
        if self.passes(losses) {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        }
    }

    /// Waits until data can pass. Returns false if the connection is lost.
    fn passes(&self, losses: u64) -> bool {
        let is_held = |state: &mut State| state.condition == NetworkState::Held && state.losses == losses;
        let state = self.changed.wait_while(self.state(), is_held).unwrap_or_else(PoisonError::into_inner);
        let (is_lost, network_state) = (state.losses != losses, state.condition);
        drop(state);
        if let NetworkState::Slow(delay) = network_state {
            thread::sleep(delay);
        }
        !is_lost
    }
}

/// Reads until the peer closes the connection, and sends nothing.
fn swallow(mut from: TcpStream) {
    let mut bytes = [0; CHUNK_BYTES];
    while matches!(from.read(&mut bytes), Ok(1..)) {}
}
