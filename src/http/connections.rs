//! The cap on connections of a listener.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use actix_web::HttpRequest;
use actix_web::dev::Extensions;

use super::{Activity, ApiError};

/// The connections of a listener.
#[derive(Clone)]
pub struct Connections(Rc<Listed>);

struct Listed {
    cap: usize,
    /// Those that are served, in the order in which they came.
    served: RefCell<BTreeMap<u64, Rc<Activity>>>,
    next: Cell<u64>,
}

/// Lives as long as its connection.
struct Connection {
    listed: Rc<Listed>,
    /// Its place among those that are served; `None` when it is beyond the cap.
    number: Option<u64>,
}

impl Connections {
    /// The most connections that a listener serves, whatever the system allows.
    pub const MOST: usize = 2048;

    /// Serves so many connections; those beyond get 503 and are closed.
    pub fn new(cap: usize) -> Self {
        Connections(Rc::new(Listed { cap, served: RefCell::default(), next: Cell::new(0) }))
    }

    /// The connections that are served.
    pub fn cap(&self) -> usize {
        self.0.cap
    }

    /// Notes a new connection in its extensions. When all are in use, the one that has
    /// waited longest for a request ends in favour of it.
    pub fn note(&self, extensions: &mut Extensions, activity: Rc<Activity>) {
        let mut served = self.0.served.borrow_mut();
        if served.len() >= self.0.cap {
            let idle = served.iter().filter_map(|(number, it)| Some((it.idle_since()?, *number)));
            if let Some(idle) = idle.min().and_then(|(_, number)| served.remove(&number)) {
                idle.dismiss();
            }
        }
        let number = (served.len() < self.0.cap).then(|| {
            let number = self.0.next.replace(self.0.next.get() + 1);
            served.insert(number, activity);
            number
        });
        extensions.insert(Connection { listed: self.0.clone(), number });
    }

    /// An error for a request on a connection beyond the cap.
    pub fn check(request: &HttpRequest) -> Result<(), ApiError> {
        match request.conn_data::<Connection>() {
            Some(Connection { number: None, listed }) => {
                Err(ApiError::TooManyConnections(listed.cap))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.listed.served.borrow_mut().remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::test::TestRequest;

    use super::*;

    fn noted(connections: &Connections, activity: &Rc<Activity>) -> Extensions {
        let mut extensions = Extensions::new();
        connections.note(&mut extensions, activity.clone());
        extensions
    }

    fn is_served(extensions: &Extensions) -> bool {
        extensions.get::<Connection>().is_some_and(|connection| connection.number.is_some())
    }

    #[actix_web::test]
    async fn the_one_that_waited_longest_ends_in_favour_of_a_new_one() {
        tokio::time::pause();
        let connections = Connections::new(3);
        let activities: Vec<Rc<Activity>> = (0..5).map(|_| Activity::new()).collect();
        let mut request = TestRequest::default().to_srv_request();
        activities[0].begin(&mut request);
        let mut open = Vec::new();
        for activity in &activities[..3] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            open.push(noted(&connections, activity));
        }
        // One that was used since has not waited longest any more.
        tokio::time::sleep(Duration::from_secs(1)).await;
        activities[1].begin(&mut request);
        activities[1].end(false);
        open.push(noted(&connections, &activities[3]));
        let dismissed: Vec<bool> = activities.iter().map(|it| it.is_dismissed()).collect();
        assert_eq!(dismissed, [false, false, true, false, false]);
        assert!(open.iter().all(is_served));
        // All are busy: the new one is told so.
        activities.iter().for_each(|it| it.begin(&mut request));
        let beyond = noted(&connections, &activities[4]);
        assert!(!is_served(&beyond));
        drop((open.remove(0), beyond));
        assert!(is_served(&noted(&connections, &activities[4])));
    }
}
