//! The two listeners: bound early so that errors are plain, served with limits, stopped without dropping answers.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, boxed, fn_service, map_config};
use actix_web::dev::{AppConfig, Extensions, Server};
use actix_web::rt::net::TcpStream;
use actix_web::web::ServiceConfig;
use actix_web::{App, Error};
use tokio::sync::watch;

pub use super::connection::LiveSpan;
use super::connection::{Connection, Patience, Terms, crowded};
use super::crowd::Crowd;
use super::manners::{ClientCertificate, Listener, Manners};
use super::peer::Proxies;
use super::stream::Stream;
use super::tls::Tls;
use super::traffic::HttpFigures;
use crate::ambient::Entropy;
use crate::oauth::refusals::Refusals;

/// How a server runs. The defaults keep design's limits; tests shorten the times.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that serve the public listener; the admin listener has one of its own.
    pub workers: usize,
    /// The most open connections of the public listener, all workers together; the admin listener takes a tenth.
    pub max_connections: usize,
    /// How long an idle connection stays open.
    pub keep_alive: Duration,
    /// How long the first head of a connection may take.
    pub head_timeout: Duration,
    /// How long a later request, body included, may take from its first byte to its answer.
    pub request_timeout: LiveSpan,
    /// How long a caller may leave an answer untaken.
    pub write_timeout: Duration,
    /// How long answers under way may take once a stop is asked for.
    pub shutdown_timeout: Duration,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub proxies: Proxies,
    /// The issuer's path, under which the public endpoints answer as well.
    pub issuer_path: Arc<str>,
    /// Where requests and connections are counted.
    pub figures: Arc<HttpFigures>,
    /// Where refusals are remembered, if anywhere.
    pub refusals: Option<Arc<Refusals>>,
    /// TLS of the public listener.
    pub tls: Option<Arc<Tls>>,
    /// TLS of the admin listener.
    pub admin_tls: Option<Arc<Tls>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            max_connections: 20_000,
            keep_alive: Duration::from_secs(75),
            head_timeout: Duration::from_secs(10),
            request_timeout: LiveSpan::new(Duration::from_secs(30)),
            write_timeout: Duration::from_secs(20),
            shutdown_timeout: Duration::from_secs(20),
            proxies: Proxies::default(),
            issuer_path: "".into(),
            figures: Arc::default(),
            refusals: None,
            tls: None,
            admin_tls: None,
        }
    }
}

/// Why an address could not be listened on, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {advice}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What is wrong and what helps.
    pub advice: String,
    /// The system's own words.
    #[source]
    pub source: io::Error,
}

/// How many connections may wait until a worker takes them; the system may allow fewer. The standard library asks for
/// 128, and in a burst of more the rest would be tried again after a second.
const BACKLOG: i32 = 4096;

/// Binds an address; port 0 takes a free one.
///
/// # Errors
/// [`BindError`], when the address is taken, not this machine's, or needs rights that are lacking.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listening = TcpListener::bind(address).and_then(|socket| {
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    });
    listening.map_err(|source| {
        let advice = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "something else listens there already; stop it or choose another port".to_owned()
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose a higher port".to_owned(),
            io::ErrorKind::AddrNotAvailable => {
                "no interface of this machine has that address; 0.0.0.0 or [::] means all of them".to_owned()
            }
            _ => source.to_string(),
        };
        BindError { address, advice, source }
    })
}

/// Serves both listeners until `stop` resolves; then takes no more connections, lets answers under way finish for at
/// most [`Settings::shutdown_timeout`], and returns. Runs on any tokio runtime; the work is done on threads of its own.
///
/// `public` and `admin` say the routes, once per worker.
///
/// # Errors
/// When a listener fails.
pub async fn serve(
    public: (TcpListener, impl Fn(&mut ServiceConfig) + Clone + Send + 'static),
    admin: (TcpListener, impl Fn(&mut ServiceConfig) + Clone + Send + 'static),
    settings: &Settings,
    entropy: &Arc<dyn Entropy>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let (stopping, stopped) = watch::channel(false);
    let alone = Settings { workers: 1, max_connections: settings.max_connections.div_ceil(10), ..settings.clone() };
    let both = async {
        tokio::try_join!(
            listener(Listener::Public, public.0, public.1, settings, entropy, stopped.clone())?,
            listener(Listener::Admin, admin.0, admin.1, &alone, entropy, stopped.clone())?,
        )
    };
    let mut both = std::pin::pin!(both);
    tokio::select! {
        outcome = &mut both => return outcome.map(drop),
        () = stop => stopping.send_replace(true),
    };
    both.await.map(drop)
}

fn listener(
    which: Listener,
    socket: TcpListener,
    routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    settings: &Settings,
    entropy: &Arc<dyn Entropy>,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<Server> {
    let stop = async move {
        // An error means that nobody is left to ask for a stop: the server goes with them.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let workers = settings.workers.clamp(1, 512);
    let most = settings.max_connections.div_ceil(workers).max(2);
    // Past this many somebody leaves for each newcomer; what is left between the two is room to leave in.
    let comfortable = most - most.div_ceil(8);
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(most)
        .shutdown_timeout(settings.shutdown_timeout.as_secs().max(1))
        .shutdown_signal(stop);
    let draining = builder.graceful_shutdown_signal();
    let settings = settings.clone();
    let figures = &settings.figures;
    let manners = Manners::new(which, Arc::clone(entropy), settings.proxies.clone())
        .counting(Arc::clone(&figures.board), Arc::clone(&settings.issuer_path))
        .remembering(settings.refusals.clone());
    let (name, sockets, tls) = match which {
        Listener::Public => ("public", &figures.public, settings.tls.clone()),
        Listener::Admin => ("admin", &figures.admin, settings.admin_tls.clone()),
    };
    let asks = tls.as_ref().is_some_and(|tls| tls.asks_for_certificates());
    sockets.set_limit(settings.max_connections);
    let terms = Arc::new(Terms {
        listener: which,
        entropy: Arc::clone(entropy),
        patience: Patience { request: settings.request_timeout.clone(), write: settings.write_timeout },
        traffic: figures.board.join(),
        sockets: Arc::clone(sockets),
    });
    let builder = builder.listen(name, socket, move || {
        let app = App::new().configure(routes.clone()).wrap(manners.clone());
        let app = app.into_factory().map_err(|error: Error| error.error_response());
        let draining = draining.clone();
        let http = HttpService::build()
            .keep_alive(KeepAlive::Timeout(settings.keep_alive))
            .client_request_timeout(settings.head_timeout)
            .client_disconnect_timeout(Duration::from_secs(1))
            .on_connect_ext(move |io: &Connection<Stream>, data: &mut Extensions| {
                if asks {
                    data.insert(ClientCertificate { shown: io.get_ref().has_client_certificate() });
                }
            })
            .graceful_shutdown_signal(move || {
                let draining = draining.clone();
                async move { draining.notified().await }
            })
            .finish(map_config(app, |()| AppConfig::default()));
        let (terms, tls) = (Arc::clone(&terms), tls.clone());
        let patience = settings.head_timeout;
        let crowd = Crowd::new(comfortable);
        let connections = fn_service(move |io: TcpStream| {
            let peer = io.peer_addr().ok();
            // Answers are written whole: waiting for more to send only delays them.
            let _ = io.set_nodelay(true);
            let address = peer.map(|peer| peer.ip().to_canonical());
            let (terms, tls) = (Arc::clone(&terms), tls.clone());
            let crowd = Rc::clone(&crowd);
            async move {
                let place = crowd.seat(address, &terms.sockets.crowded).await.ok_or_else(crowded)?;
                let io = match tls {
                    None => Stream::Plain(io),
                    Some(tls) => tokio::select! {
                        accepted = tls.accept(io, patience) => Stream::Tls(Box::new(accepted?)),
                        () = place.seat.lost() => return Err(crowded().into()),
                    },
                };
                Ok((Connection::new(io, address, terms, place), Protocol::Http1, peer))
            }
        });
        // A connection's future is some kilobytes, and what spawns it moves it about ten times.
        boxed::factory(connections.and_then(http))
    })?;
    Ok(builder.run())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Client;

    use super::*;

    #[test]
    fn a_burst_of_connections_waits_instead_of_being_turned_away() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        let allowed = allowed.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(128);
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        // Nobody accepts. One more than may wait would be tried again after a second.
        let waiting: Vec<_> =
            (0..400.min(allowed)).map(|_| Client::connect_timeout(&address, Duration::from_millis(900))).collect();
        assert!(waiting.iter().all(Result::is_ok));
    }
}
