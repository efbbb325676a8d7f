//! `latentd healthcheck`: asks a running server whether it is ready, for containers without a client.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    config::{self, Flags},
    error::{Error, Result},
};

const TIMEOUT: Duration = Duration::from_secs(3);

/// More than any status line and head of `/readyz`.
const MAX_ANSWER: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Address and port of the server [default: the configured one, on this machine]
    #[arg(long, value_name = "ADDR")]
    addr: Option<SocketAddr>,
    /// Ask whether it lives instead of whether it is ready
    #[arg(long)]
    live: bool,
}

pub(super) fn run(flags: &Flags, options: &Options) -> Result<()> {
    let addr = match options.addr {
        Some(addr) => addr,
        None => reachable(config::load(flags, std::env::vars_os())?.config.general.listen),
    };
    let path = if options.live { "/livez" } else { "/readyz" };
    let answer = ask(addr, path).map_err(|error| Error::unavailable(format!("no answer from {addr}: {error}")))?;
    let status = answer.split_whitespace().nth(1).unwrap_or("none");
    if status == "200" {
        Ok(())
    } else {
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Err(Error::unavailable(format!("{path} answered {status}: {}", body.trim())))
    }
}

/// A server that listens on every address is asked on the loopback one.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(addr: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    // in one piece: a server may answer and close once it has read the first line
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn server_that_says(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        addr
    }

    #[test]
    fn a_ready_server_is_healthy_and_any_other_answer_is_not() {
        let ask = |answer| run(&Flags::default(), &Options { addr: Some(server_that_says(answer)), live: false });
        assert!(ask("HTTP/1.1 200 OK\r\n\r\n{}").is_ok());
        let error = ask("HTTP/1.1 503 Service Unavailable\r\n\r\nno model is ready").unwrap_err();
        assert!(error.message().contains("503: no model is ready"), "{error}");
    }

    #[test]
    fn an_unspecified_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()), "127.0.0.1:80".parse().unwrap());
        assert_eq!(reachable("[::]:80".parse().unwrap()), "[::1]:80".parse().unwrap());
    }
}
