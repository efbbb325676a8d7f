//! Which proxy the requests of `latentd ingest` go through: the one that the environment names, as for curl, but never one
//! to a server on this machine.

use std::net::IpAddr;

use reqwest::{ClientBuilder, Proxy, Url};

use crate::error::{Error, Result};

/// What becomes of a proxy that the environment names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum ProxyUse {
    /// The environment names none for such an address, or `NO_PROXY` has the address.
    None,
    /// The server is on this machine: no proxy would find it.
    Local {
        variable: &'static str,
        host: String,
    },
    Through {
        variable: &'static str,
        proxy: String,
        host: String,
    },
}

impl ProxyUse {
    /// For a server of this address, in this environment.
    pub(in crate::cli) fn of(server: &Url, variable: impl Fn(&str) -> Option<String>) -> Self {
        let own: [&'static str; 2] =
            if server.scheme() == "https" { ["https_proxy", "HTTPS_PROXY"] } else { ["http_proxy", "HTTP_PROXY"] };
        let set = |name: &'static str| Some((name, variable(name).filter(|value| !value.trim().is_empty())?));
        let named = own.into_iter().chain(["all_proxy", "ALL_PROXY"]).find_map(set);
        let (Some((name, proxy)), Some(host)) = (named, server.host_str()) else { return Self::None };
        let host = host.trim_matches(['[', ']']).to_owned();
        if is_local(&host) {
            return Self::Local { variable: name, host };
        }
        let exceptions = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        if exceptions.split(',').any(|entry| excepts(entry.trim(), &host)) {
            return Self::None;
        }
        let proxy = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
        Self::Through { variable: name, proxy, host }
    }

    /// A client that does so, and looks for no proxy by itself.
    pub(in crate::cli) fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder> {
        let builder = builder.no_proxy();
        let Self::Through { variable, proxy, .. } = self else { return Ok(builder) };
        let proxy = Proxy::all(proxy).map_err(|error| {
            Error::invalid_request(format!("{variable} is no address of a proxy: {error}")).with_source(error)
        })?;
        Ok(builder.proxy(proxy))
    }

    /// What the user should know, in one line.
    pub(in crate::cli) fn notice(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Local { variable, host } => {
                Some(format!("{variable} is not used: {host} is this machine, which is asked directly"))
            }
            Self::Through { variable, proxy, host } => Some(format!(
                "requests go through the proxy {} of {variable}; NO_PROXY={host} would ask the server directly",
                without_password(proxy)
            )),
        }
    }
}

fn is_local(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            address.is_loopback() || address.is_unspecified()
        }
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Whether an entry of `NO_PROXY` has the host: `*`, a domain with what is below it, an address, or a range of them.
fn excepts(entry: &str, host: &str) -> bool {
    if entry.is_empty() {
        return false;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return entry == "*" || entry.parse() == Ok(address) || in_range(entry, address);
    }
    let (entry, host) = (entry.trim_start_matches("*.").trim_start_matches('.').to_lowercase(), host.to_lowercase());
    entry == "*" || host == entry || host.strip_suffix(&entry).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether an address is in a range such as `10.0.0.0/8`.
fn in_range(range: &str, address: IpAddr) -> bool {
    let Some((network, length)) = range.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((network, of), (address, width)) = (bits(network), bits(address));
    let differing = if length == 0 { 0 } else { (network ^ address) >> (128 - length.min(128)) };
    of == width && length <= width && differing == 0
}

fn without_password(proxy: &str) -> String {
    match (proxy.split_once("://"), proxy.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => proxy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(server: &str, variables: &[(&str, &str)]) -> ProxyUse {
        let found =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        ProxyUse::of(&server.parse().unwrap(), found)
    }

    fn goes_through(server: &str, variables: &[(&str, &str)]) -> bool {
        matches!(used(server, variables), ProxyUse::Through { .. })
    }

    #[test]
    fn a_server_on_this_machine_is_never_asked_through_a_proxy() {
        let proxy = [("HTTP_PROXY", "http://proxy:3128"), ("HTTPS_PROXY", "http://proxy:3128")];
        for server in
            ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "http://x.localhost", "https://127.9.9.9"]
        {
            assert!(matches!(used(server, &proxy), ProxyUse::Local { .. }), "{server}");
        }
        let notice = used("http://localhost:8080", &proxy).notice().unwrap();
        assert_eq!(notice, "HTTP_PROXY is not used: localhost is this machine, which is asked directly");
    }

    #[test]
    fn the_variable_of_the_scheme_names_the_proxy_and_then_that_of_all() {
        let server = "http://images.example:8080";
        assert_eq!(used(server, &[]), ProxyUse::None);
        assert_eq!(used(server, &[("HTTPS_PROXY", "http://p"), ("HTTP_PROXY", " ")]), ProxyUse::None);
        assert!(
            goes_through(server, &[("http_proxy", "p:3128")]) && goes_through(server, &[("ALL_PROXY", "http://p")])
        );
        assert!(goes_through("https://images.example", &[("HTTPS_PROXY", "http://p")]));
        let notice = used(server, &[("HTTP_PROXY", "http://me:secret@p:3128")]).notice().unwrap();
        assert!(notice.contains("http://p:3128 of HTTP_PROXY; NO_PROXY=images.example would"), "{notice}");
        assert!(!notice.contains("secret"));
    }

    #[test]
    fn what_no_proxy_names_is_asked_directly() {
        for (server, exceptions, through) in [
            ("http://images.example", "example", false),
            ("http://images.example", "a, .example", false),
            ("http://images.example", "*.example", false),
            ("http://images.example", "*", false),
            ("http://images.example", "ages.example", true),
            ("http://images.example", "", true),
            ("http://10.1.2.3", "10.0.0.0/8", false),
            ("http://10.1.2.3", "10.1.2.3", false),
            ("http://11.1.2.3", "10.0.0.0/8,fd00::/8", true),
            ("http://[fd00::1]", "10.0.0.0/8,fd00::/8", false),
        ] {
            let variables = [("HTTP_PROXY", "http://p"), ("NO_PROXY", exceptions)];
            assert_eq!(goes_through(server, &variables), through, "{server} with NO_PROXY={exceptions}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_an_error_that_names_the_variable() {
        crate::tls::install();
        let bad = used("http://images.example", &[("HTTP_PROXY", "http://")]);
        let error = bad.apply(reqwest::Client::builder()).map(drop).unwrap_err();
        assert!(error.message().contains("HTTP_PROXY is no address of a proxy"), "{error}");
    }
}
