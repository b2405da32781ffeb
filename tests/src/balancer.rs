//! What stands before several replicas.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

const CHUNK_BYTES: usize = 16 * 1024;

/// A TCP load balancer: each connection goes to the next replica that takes it.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    network: Arc<Network>,
}

/// What lies between, which may let nothing through while nobody is told.
#[derive(Debug, Default)]
struct Network {
    is_cut: Mutex<bool>,
    changed: Condvar,
}

impl Network {
    fn set_cut(&self, is_cut: bool) {
        *self.is_cut.lock().unwrap_or_else(PoisonError::into_inner) = is_cut;
        self.changed.notify_all();
    }

    /// Returns while the network is whole.
    fn pass(&self) {
        let is_cut = self.is_cut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(is_cut, |is_cut| *is_cut));
    }
}

impl Balancer {
    /// Starts one before `replicas`, each a host and a port.
    #[must_use]
    pub fn start(replicas: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, next) = (Arc::clone(&is_over), AtomicUsize::new(0));
        let network = Arc::new(Network::default());
        let between = Arc::clone(&network);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let first = next.fetch_add(1, Ordering::Relaxed);
                let mut order = replicas.iter().cycle().skip(first % replicas.len()).take(replicas.len());
                // Where no replica takes it, the client finds its connection closed.
                if let Some(replica) = order.find_map(|replica| TcpStream::connect(replica).ok()) {
                    let _ = join(client, replica, &between);
                }
            }
        });
        Self { address, is_over, network }
    }

    /// Lets nothing through from now on. Connections stay, and new ones are taken: as where packets are dropped, nobody is
    /// told.
    pub fn cut(&self) {
        self.network.set_cut(true);
    }

    /// Lets everything through again, and what waited.
    pub fn mend(&self) {
        self.network.set_cut(false);
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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

fn join(client: TcpStream, replica: TcpStream, network: &Arc<Network>) -> io::Result<()> {
    for (mut from, mut to) in [(client.try_clone()?, replica.try_clone()?), (replica, client)] {
        let network = Arc::clone(network);
        thread::spawn(move || {
            let mut bytes = [0; CHUNK_BYTES];
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                network.pass();
                if to.write_all(bytes.get(..length).unwrap_or_default()).is_err() {
                    break;
                }
            }
            network.pass();
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
