//! A TCP forwarder with a network that can fail: a load balancer before several replicas, or the way to a database.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

const CHUNK_BYTES: usize = 16 * 1024;
/// Connections that have ended are forgotten when so many are known.
const KNOWN_MAX: usize = 256;

/// A TCP load balancer: each connection goes to the next target that takes it.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    network: Arc<Network>,
}

/// What the network between a client and its target does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Clear,
    /// Nothing passes, and neither side is told: what waits passes later, as where packets are retransmitted.
    Held,
    /// What is open or opened now swallows everything, also later: the other machine vanished without a word.
    Lost,
    /// Connections are closed, those that are open and those that come.
    Refused,
    /// Everything passes, each piece so much later.
    Slow(Duration),
}

#[derive(Debug)]
struct Network {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    targets: Vec<String>,
    /// Where the next connection is tried first.
    next: usize,
    /// How often connections were lost so far: one that began before the last time is lost.
    losses: u64,
    open: Vec<TcpStream>,
}

impl Balancer {
    /// Starts one before `targets`, each a host and a port.
    #[must_use]
    pub fn start(targets: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let is_over = Arc::new(AtomicBool::new(false));
        let state = State { weather: Weather::Clear, targets, next: 0, losses: 0, open: Vec::new() };
        let network = Arc::new(Network { state: Mutex::new(state), changed: Condvar::new() });
        let (over, between) = (Arc::clone(&is_over), Arc::clone(&network));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                // Where no target takes it, the client finds its connection closed.
                let _ = between.admit(client);
            }
        });
        Self { address, is_over, network }
    }

    /// Lets nothing through from now on. Connections stay, and new ones are taken: as where packets are dropped, neither
    /// side is told.
    pub fn cut(&self) {
        self.turns(Weather::Held);
    }

    /// Lets everything through again, and what waited.
    pub fn mend(&self) {
        self.turns(Weather::Clear);
    }

    /// The network is like this from now on.
    pub fn turns(&self, weather: Weather) {
        let mut state = self.network.state();
        state.weather = weather;
        if weather == Weather::Lost {
            state.losses += 1;
        }
        self.network.changed.notify_all();
        drop(state);
        if weather == Weather::Refused {
            self.closes_connections();
        }
    }

    /// Closes all connections that are open now.
    pub fn closes_connections(&self) {
        for stream in self.network.state().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Connections lead to `targets` from now on; those that are open stay where they are.
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
        self.mend();
        // The listener is waiting for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects `client` with the next target that takes it.
    fn admit(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let (weather, targets, losses) = {
            let mut state = self.state();
            state.next = state.next.wrapping_add(1);
            let mut targets = state.targets.clone();
            if !targets.is_empty() {
                let first = state.next % targets.len();
                targets.rotate_left(first);
            }
            (state.weather, targets, state.losses)
        };
        match weather {
            Weather::Refused => Ok(()),
            Weather::Lost => {
                thread::spawn(move || swallow(client));
                Ok(())
            }
            Weather::Clear | Weather::Held | Weather::Slow(_) => {
                let target = targets.iter().find_map(|target| TcpStream::connect(target).ok());
                let Some(target) = target else { return Ok(()) };
                // Small requests and answers that wait for each other are what passes here.
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

    /// Carries what `from` sends to `to`, for a connection that began after `losses`.
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

    /// Waits until the network lets something through; `false`: the connection is lost.
    fn passes(&self, losses: u64) -> bool {
        let is_held = |state: &mut State| state.weather == Weather::Held && state.losses == losses;
        let state = self.changed.wait_while(self.state(), is_held).unwrap_or_else(PoisonError::into_inner);
        let (is_lost, weather) = (state.losses != losses, state.weather);
        drop(state);
        if let Weather::Slow(delay) = weather {
            thread::sleep(delay);
        }
        !is_lost
    }
}

/// Reads until the peer gives up, and answers nothing.
fn swallow(mut from: TcpStream) {
    let mut bytes = [0; CHUNK_BYTES];
    while matches!(from.read(&mut bytes), Ok(1..)) {}
}
