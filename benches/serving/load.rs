//! Posts bodies over connections that stay open: as fast as they are answered, or at a fixed rate.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use serde_json::Value;
use tokio::task::LocalSet;

use crate::{
    driver::{self, Asking},
    files, tell,
    times::Times,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long)]
    address: SocketAddr,
    /// Path and query
    #[arg(long)]
    target: String,
    /// `Name: value`
    #[arg(long)]
    header: Vec<String>,
    /// A folder; its files are the bodies, posted in turn
    #[arg(long)]
    bodies: PathBuf,
    /// Requests at a time; at a fixed rate, the most at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests in a second, whatever comes of them; else each connection asks again as soon as it is answered
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds to wait for the last answers
    #[arg(long, default_value_t = 30.0)]
    patience: f64,
    #[command(flatten)]
    times: Times,
}

pub(crate) fn run(options: &Options) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = LocalSet::new().block_on(&runtime, drive(options));
    println!("{result}");
}

async fn drive(options: &Options) -> Value {
    let Options { address, target, header, .. } = options;
    let bodies = files(&options.bodies);
    let asking = Asking {
        address: *address,
        requests: bodies.iter().map(|body| driver::request("POST", target, *address, header, body)).collect(),
        connections: options.connections,
        rate: options.rate,
        patience: Duration::from_secs_f64(options.patience),
        window: options.times.window(),
    };
    let window = asking.window;
    let telling = tokio::task::spawn_local(async move {
        tokio::time::sleep_until(window.begin.into()).await;
        tell("begin");
        tokio::time::sleep_until(window.end().into()).await;
        tell("end");
    });
    let result = driver::drive(asking).await;
    telling.await.unwrap();
    result
}
