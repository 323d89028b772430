//! The connections: so many in all, and so many of one process. Where all places are taken, a newcomer is
//! given one that a process with more than its own holds, so that no crowd shuts anybody out.
//!
//! Whom that costs a connection is the process with the most; and of its connections one that waits for
//! nothing, the oldest of these, before one that does. A process that holds one connection and waits for an
//! answer loses it to nobody.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use authd_core::id::ClientId;
use tokio::sync::oneshot;

/// Who is connected.
pub(crate) struct Crowd {
    most: usize,
    of_one: usize,
    seats: Mutex<Seats>,
}

/// The places that are taken.
#[derive(Default)]
struct Seats {
    /// Of each process, oldest first.
    of: HashMap<ClientId, Vec<Seat>>,
    taken: usize,
    /// The number of the next.
    next: u64,
}

/// One place, as the crowd sees it. It is taken away by dropping it.
struct Seat {
    number: u64,
    waits: Waits,
    _leave: oneshot::Sender<()>,
}

/// One place, as its connection holds it.
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    pub(crate) process: ClientId,
    number: u64,
    waits: Waits,
    left: oneshot::Receiver<()>,
}

/// Whether an answer is waited for on a connection.
#[derive(Clone, Default)]
pub(crate) struct Waits(Arc<AtomicBool>);

impl Waits {
    /// Says so.
    pub(crate) fn say(&self, waits: bool) {
        self.0.store(waits, Ordering::Relaxed);
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are taken, and none by a process that holds more than this one.
    ForAll,
    /// The process has its share.
    ForThisProcess,
}

impl Crowd {
    /// `most` places, and `of_one` for one process.
    pub(crate) fn new(most: usize, of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            of_one,
            seats: Mutex::default(),
        })
    }

    /// A place for the process. Processes that nobody knows share one share.
    pub(crate) fn enter(self: &Arc<Self>, process: ClientId) -> Result<Place, Full> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let own = seats.of.get(&process).map_or(0, Vec::len);
        if own >= self.of_one {
            return Err(Full::ForThisProcess);
        }
        if seats.taken >= self.most && !seats.shed_for_one_with(own) && !seats.shed_of(process) {
            return Err(Full::ForAll);
        }
        let number = seats.next;
        let waits = Waits::default();
        let (leave, left) = oneshot::channel();
        seats.next += 1;
        seats.taken += 1;
        seats.of.entry(process).or_default().push(Seat {
            number,
            waits: waits.clone(),
            _leave: leave,
        });
        Ok(Place {
            crowd: Arc::clone(self),
            process,
            number,
            waits,
            left,
        })
    }
}

impl Seats {
    /// Takes a place from the process with the most, for one that holds `own`; whether there is one to take.
    fn shed_for_one_with(&mut self, own: usize) -> bool {
        let is_idle = |seat: &&Seat| !seat.waits.0.load(Ordering::Relaxed);
        let oldest_idle = |seats: &[Seat]| seats.iter().find(is_idle).map(|seat| seat.number);
        // Of two with as many, one that can spare a place, and has kept it longest.
        let crowded = self.of.iter().max_by_key(|(_, seats)| {
            let idle = oldest_idle(seats);
            (seats.len(), idle.is_some(), Reverse(idle))
        });
        let Some((&process, seats)) = crowded.filter(|(_, seats)| seats.len() > own) else {
            return false;
        };
        let idle = oldest_idle(seats);
        // An answer that is waited for is not lost to somebody who is then no worse off.
        let any = seats.first().filter(|_| seats.len() > own + 1);
        match idle.or(any.map(|seat| seat.number)) {
            Some(number) => self.remove(process, number),
            None => false,
        }
    }

    /// Takes the oldest idle place of the process itself, which is then no worse off: a client that comes
    /// again may be here before the end of its last connection is seen. Whether there is one.
    fn shed_of(&mut self, process: ClientId) -> bool {
        let own = self.of.get(&process).map_or(&[][..], Vec::as_slice);
        let idle = own
            .iter()
            .find(|seat| !seat.waits.0.load(Ordering::Relaxed));
        match idle.map(|seat| seat.number) {
            Some(number) => self.remove(process, number),
            None => false,
        }
    }

    /// Whether it was there.
    fn remove(&mut self, process: ClientId, number: u64) -> bool {
        let Some(seats) = self.of.get_mut(&process) else {
            return false;
        };
        let Ok(at) = seats.binary_search_by_key(&number, |seat| seat.number) else {
            return false;
        };
        seats.remove(at);
        self.taken -= 1;
        if seats.is_empty() {
            self.of.remove(&process);
        }
        true
    }
}

impl Place {
    /// Where it is said whether an answer is waited for here.
    pub(crate) fn waits(&self) -> Waits {
        self.waits.clone()
    }

    /// Waits until the place is needed for somebody else. Cancel-safe.
    pub(crate) async fn is_taken_away(&mut self) {
        // Nothing is ever sent: the sender is dropped.
        let _ = (&mut self.left).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let seats = &self.crowd.seats;
        let mut seats = seats.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been taken away.
        seats.remove(self.process, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_away(place: &mut Place) -> bool {
        place.left.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    /// The indices of those that were shed.
    fn shed(places: &mut [Place]) -> Vec<usize> {
        let all = places.iter_mut().enumerate();
        all.filter_map(|(index, place)| taken_away(place).then_some(index))
            .collect()
    }

    fn enter(crowd: &Arc<Crowd>, process: u64, count: usize) -> Vec<Place> {
        let places = (0..count).map(|_| crowd.enter(ClientId(process)));
        places.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn one_process_cannot_take_every_place() {
        let crowd = Crowd::new(8, 2);
        let greedy = enter(&crowd, 1, 2);
        let full = crowd.enter(ClientId(1)).err();
        assert_eq!(full, Some(Full::ForThisProcess));
        assert!(crowd.enter(ClientId(2)).is_ok());
        drop(greedy);
        assert!(crowd.enter(ClientId(1)).is_ok());
    }

    #[test]
    fn a_newcomer_is_given_the_oldest_idle_place_of_the_process_with_the_most() {
        let crowd = Crowd::new(8, 4);
        let mut few = enter(&crowd, 1, 3);
        let mut most = enter(&crowd, 2, 4);
        let mut one = enter(&crowd, 3, 1);
        most[0].waits.say(true);
        let newcomer = enter(&crowd, 4, 1);
        assert_eq!(shed(&mut most), [1]);
        assert_eq!((shed(&mut few), shed(&mut one)), (vec![], vec![]));
        // One that left by itself makes room as well, and is counted once.
        drop(most);
        let others = enter(&crowd, 5, 3);
        assert_eq!(crowd.seats.lock().unwrap().taken, 8);
        drop((few, one, newcomer, others));
        let seats = crowd.seats.lock().unwrap();
        assert_eq!((seats.taken, seats.of.len()), (0, 0));
    }

    #[test]
    fn who_waits_for_an_answer_gives_way_to_a_newcomer_only_among_many() {
        let crowd = Crowd::new(4, 4);
        let mut two = enter(&crowd, 1, 2);
        let mut single = enter(&crowd, 2, 1);
        let mut other = enter(&crowd, 3, 1);
        for place in two.iter().chain(&single).chain(&other) {
            place.waits.say(true);
        }
        let newcomer = enter(&crowd, 4, 1);
        assert_eq!(shed(&mut two), [0]);
        newcomer[0].waits.say(true);
        // Now everybody has one, and waits.
        let full = crowd.enter(ClientId(5)).err();
        assert_eq!(full, Some(Full::ForAll));
        single[0].waits.say(false);
        let _last = enter(&crowd, 5, 1);
        assert_eq!((shed(&mut single), shed(&mut other)), (vec![0], vec![]));
    }

    #[test]
    fn a_process_that_holds_as_many_as_any_takes_a_place_of_its_own_and_of_nobody_else() {
        let crowd = Crowd::new(4, 4);
        let mut one = enter(&crowd, 1, 2);
        let mut two = enter(&crowd, 2, 2);
        let again = enter(&crowd, 2, 1);
        assert_eq!(shed(&mut two), [0]);
        two[1].waits.say(true);
        again[0].waits.say(true);
        assert_eq!(crowd.enter(ClientId(2)).err(), Some(Full::ForAll));
        assert!(shed(&mut one).is_empty());
    }

    #[test]
    fn twenty_processes_with_a_share_each_do_not_keep_out_another() {
        let crowd = Crowd::new(2048, 512);
        let mut places = Vec::new();
        for _round in 0..250 {
            for process in 1..=20 {
                places.extend(crowd.enter(ClientId(process)));
            }
        }
        let honest = enter(&crowd, 21, 1);
        honest[0].waits.say(true);
        // They come back at once for what was taken from them.
        for process in 1..=20 {
            places.extend(crowd.enter(ClientId(process)));
        }
        let mut honest = honest;
        assert!(shed(&mut honest).is_empty());
        assert!(crowd.seats.lock().unwrap().taken <= 2048);
    }
}
