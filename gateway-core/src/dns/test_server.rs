//! A name server for tests. It uses UDP on loopback, and its answers can be changed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// A running name server. The TTL of all records is 0, so that its answers are not cached.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    answers: Answers,
    task: JoinHandle<()>,
}

/// Addresses by name. Names have no final dot. `None`: the server responds with a failure. For a name that is
/// not in the map, the server responds that the name does not exist.
type Answers = Arc<Mutex<HashMap<String, Option<Vec<IpAddr>>>>>;

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let answers = Answers::default();
        let shared = answers.clone();
        let task = tokio::spawn(async move {
            let mut bytes = [0; 1500];
            loop {
                let (length, client) = socket.recv_from(&mut bytes).await.unwrap();
                let query = Message::from_vec(&bytes[..length]).unwrap();
                let reply = answer(&shared, &query).to_vec().unwrap();
                socket.send_to(&reply, client).await.unwrap();
            }
        });
        Self {
            address,
            answers,
            task,
        }
    }

    /// Sets the addresses of a name.
    pub(crate) fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        let answer = Some(addresses.collect());
        self.answers.lock().unwrap().insert(name.to_owned(), answer);
    }

    /// Makes queries for a name fail with SERVFAIL.
    pub(crate) fn fail(&self, name: &str) {
        self.answers.lock().unwrap().insert(name.to_owned(), None);
    }

    /// Removes a name.
    pub(crate) fn remove(&self, name: &str) {
        self.answers.lock().unwrap().remove(name);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(answers: &Answers, query: &Message) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    let asked = query.queries[0].clone();
    let name = asked.name().to_ascii();
    reply.add_query(asked.clone());
    match answers.lock().unwrap().get(name.trim_end_matches('.')) {
        None => reply.metadata.response_code = ResponseCode::NXDomain,
        Some(None) => reply.metadata.response_code = ResponseCode::ServFail,
        Some(Some(addresses)) => {
            let records = addresses.iter().filter_map(|address| {
                let data = match (asked.query_type(), *address) {
                    (RecordType::A, IpAddr::V4(address)) => RData::A(address.into()),
                    (RecordType::AAAA, IpAddr::V6(address)) => RData::AAAA(address.into()),
                    _ => return None,
                };
                Some(Record::from_rdata(asked.name().clone(), 0, data))
            });
            reply.add_answers(records);
        }
    }
    reply
}
