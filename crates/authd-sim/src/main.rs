//! `authd-sim`: runs seeds, says how fast, what was reached, and what went wrong.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    rc::Rc,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use authd_sim::{
    Outcome, clock,
    coverage::Coverage,
    minimise,
    oracle::Margin,
    run,
    story::Story,
    wake::{self, Wake},
};

const USAGE: &str = "\
usage: authd-sim [--seeds N] [--days D] [--renewals R] [--jobs J] [--seed S [--trace]]
       authd-sim --scenario wake [--seed S]

  --seeds N     how many seeds (default 200)
  --first F     the first of them (default 0)
  --days D      virtual days of each at most (default 3650)
  --renewals R  renewals of each, where its lifetimes allow (default 100000)
  --jobs J      threads (default: one for each processor)
  --seed S      this one alone
  --trace       with its last lines, all items left as they are
  --scenario wake
                a machine with 10,000 accounts wakes, and clients of 300 wait
";

/// Steps that the search for a smaller story may take: some ten seconds.
const MINIMISING_STEPS: u64 = 20_000_000;
/// Failing seeds that are shown in full.
const SHOWN: usize = 12;
/// From so many seeds on nothing may be left unreached.
const ENOUGH_SEEDS: u64 = 200;

struct Options {
    seeds: u64,
    first: u64,
    days: u64,
    renewals: u64,
    jobs: usize,
    seed: Option<u64>,
    trace: bool,
    wake: bool,
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        seeds: 200,
        first: 0,
        days: 3650,
        renewals: 100_000,
        jobs: thread::available_parallelism().map_or(2, Into::into),
        seed: None,
        trace: false,
        wake: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seeds") => options.seeds = parser.value()?.parse()?,
            Long("first") => options.first = parser.value()?.parse()?,
            Long("days") => options.days = parser.value()?.parse()?,
            Long("renewals") => options.renewals = parser.value()?.parse()?,
            Long("jobs") => options.jobs = parser.value()?.parse::<usize>()?.max(1),
            Long("seed") => options.seed = Some(parser.value()?.parse()?),
            Long("trace") => options.trace = true,
            Long("scenario") => match parser.value()?.string()?.as_str() {
                "wake" => options.wake = true,
                other => return Err(format!("there is no scenario {other}").into()),
            },
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    // A panic of the engine is a finding, told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let mut out = io::stdout().lock();
    let done = match options() {
        Ok(Some(options)) if options.wake => woken(&options, &mut out),
        Ok(Some(options)) => match options.seed {
            Some(seed) => one(&options, seed, &mut out),
            None => many(&options, &mut out),
        },
        Ok(None) => write!(out, "{USAGE}").map(|()| true),
        Err(error) => write!(out, "{error}\n\n{USAGE}").map(|()| false),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // A reader that went away wants no more.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

#[expect(clippy::disallowed_methods, reason = "it says how long it took")]
fn woken(options: &Options, out: &mut impl Write) -> io::Result<bool> {
    let began = Instant::now();
    let wake = Wake {
        seed: options.seed.unwrap_or_default(),
        ..Wake::default()
    };
    let woken = wake::run(&wake);
    let misses = woken.misses(&wake);
    for miss in &misses {
        writeln!(out, "missed: {miss}")?;
    }
    let secs = |millis: u64| millis as f64 / 1000.0;
    writeln!(
        out,
        "{} accounts over {} hosts of {}/s and {} at once; {} were renewed within {:.1} s of the wake",
        wake.accounts,
        wake.hosts,
        wake.rate,
        wake.burst,
        woken.renewed,
        secs(woken.all_renewed_after)
    )?;
    let share = woken.throttled as f64 * 100.0 / woken.exchanges.max(1) as f64;
    writeln!(
        out,
        "wake: served={} of {} longest_wait={:.1}s last_served_after={:.1}s 429s={} ({share:.2} %) \
         exchanges={} took={:.1}s",
        woken.served,
        wake.in_demand,
        secs(woken.longest_wait),
        secs(woken.all_served_after),
        woken.throttled,
        woken.exchanges,
        began.elapsed().as_secs_f64()
    )?;
    Ok(misses.is_empty())
}

#[derive(Default)]
struct Total {
    steps: u64,
    renewals: u64,
    refusals: u64,
    violations: u64,
    margin: Margin,
    virtual_ms: u64,
    coverage: Coverage,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.steps += outcome.steps;
        self.renewals += outcome.renewals;
        self.refusals += outcome.refusals;
        self.violations += u64::from(outcome.violation.is_some());
        self.margin = self.margin.and(outcome.margin);
        self.virtual_ms += outcome.elapsed;
        self.coverage.add(&outcome.coverage);
    }
}

fn one(options: &Options, seed: u64, out: &mut impl Write) -> io::Result<bool> {
    let story = Story::new(seed, options.days, options.renewals);
    let trace = Rc::new(RefCell::new(VecDeque::new()));
    let outcome = run(&story, options.trace.then_some(&trace));
    for line in trace.borrow().iter() {
        writeln!(out, "{line}")?;
    }
    if outcome.violation.is_some() && !options.trace {
        tell(options, seed, &outcome, out)?;
    }
    let mut total = Total::default();
    total.add(&outcome);
    finish(&total, 1, options.days, None, out)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the progress line says how fast it goes"
)]
fn many(options: &Options, out: &mut impl Write) -> io::Result<bool> {
    let began = Instant::now();
    let next = AtomicU64::new(options.first);
    let end = options.first + options.seeds;
    let mut total = Total::default();
    let mut failing = Vec::new();
    thread::scope(|scope| -> io::Result<()> {
        let (sender, results) = mpsc::channel();
        for _ in 0..options.jobs {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let story = Story::new(seed, options.days, options.renewals);
                    if sender.send((seed, run(&story, None))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut told = began;
        for (done, (seed, outcome)) in (1_u64..).zip(results) {
            total.add(&outcome);
            if let Some(violation) = &outcome.violation {
                let (invariant, what) = (violation.invariant, &violation.what);
                writeln!(io::stderr(), "seed {seed}: invariant {invariant}: {what}")?;
                failing.push((seed, outcome));
            }
            let is_last = done == options.seeds;
            if is_last
                || told.elapsed().as_secs() >= if io::stderr().is_terminal() { 1 } else { 30 }
            {
                told = Instant::now();
                let secs = began.elapsed().as_secs_f64();
                let rate = total.steps as f64 / secs / 1e6;
                let years = total.virtual_ms as f64 / 3.156e10;
                let (steps, renewals) = (total.steps, total.renewals);
                writeln!(
                    io::stderr(),
                    "{done} seeds, {steps} steps, {renewals} renewals, {years:.0} virtual years, \
                     {secs:.0} s, {rate:.2} million steps/s, {} violations",
                    total.violations
                )?;
            }
        }
        Ok(())
    })?;
    failing.sort_by_key(|(seed, _)| *seed);
    for (seed, outcome) in failing.iter().take(SHOWN) {
        tell(options, *seed, outcome, out)?;
    }
    for (seed, outcome) in failing.iter().skip(SHOWN) {
        if let Some(violation) = &outcome.violation {
            let (invariant, what) = (violation.invariant, &violation.what);
            writeln!(out, "seed {seed}: invariant {invariant}: {what}")?;
        }
    }
    let secs = began.elapsed().as_secs_f64();
    finish(&total, options.seeds, options.days, Some(secs), out)
}

fn tell(options: &Options, seed: u64, outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let Some(violation) = &outcome.violation else {
        return Ok(());
    };
    let story = Story::new(seed, options.days, options.renewals);
    writeln!(
        out,
        "seed {seed}: invariant {}: {}",
        violation.invariant, violation.what
    )?;
    writeln!(
        out,
        "  at {}; to replay: cargo run --release -p authd-sim -- --seed {seed} --days {} \
         --renewals {} --trace",
        clock::told(violation.at),
        options.days,
        options.renewals
    )?;
    let (least, lines) = minimise(&story, violation, MINIMISING_STEPS);
    for (host, habits) in least.hosts.iter().enumerate() {
        writeln!(out, "  host {host}: {habits:?}")?;
    }
    for (account, person) in least.people.iter().enumerate() {
        writeln!(out, "  a{account}: {person:?}")?;
    }
    writeln!(
        out,
        "  with {} of {} items:",
        least.items.len(),
        story.items.len()
    )?;
    for item in &least.items {
        let (kind, secs) = (item.kind, item.length / 1000);
        writeln!(
            out,
            "    {} {kind:?} a{} {secs} s",
            clock::told(item.at + 10_000),
            item.account
        )?;
    }
    for line in lines {
        writeln!(out, "  {line}")?;
    }
    writeln!(out)
}

fn finish(
    total: &Total,
    seeds: u64,
    days: u64,
    secs: Option<f64>,
    out: &mut impl Write,
) -> io::Result<bool> {
    let missing = total.coverage.missing();
    if let Some(secs) = secs {
        for table in total.coverage.tables() {
            writeln!(out, "{}", table.title)?;
            for (name, count) in table.names.iter().zip(&table.counts) {
                writeln!(out, "  {count:>12}  {name}")?;
            }
        }
        for name in &missing {
            writeln!(out, "never reached: {name}")?;
        }
        let rate = total.steps as f64 / secs / 1e6;
        let years = total.virtual_ms as f64 / 3.156e10;
        writeln!(
            out,
            "{secs:.0} s, {rate:.2} million steps/s, {years:.0} virtual years"
        )?;
    }
    let (renewals, refusals) = (total.renewals, total.refusals);
    writeln!(
        out,
        "renewals: {renewals}; refusals of healthy providers: {refusals}"
    )?;
    let worst = match total.margin.worst {
        Some(worst) => format!("{:.1} s", worst as f64 / 1000.0),
        None => "none late".to_owned(),
    };
    writeln!(
        out,
        "worst margin to the bound: {worst} (of {} late tokens, each after a trouble longer than \
         the bound); longest trouble survived: {:.2} of the bound",
        total.margin.late, total.margin.survived
    )?;
    let (steps, violations) = (total.steps, total.violations);
    writeln!(
        out,
        "sim: seeds={seeds} days={days} steps={steps} violations={violations}"
    )?;
    Ok(violations == 0 && (seeds < ENOUGH_SEEDS || missing.is_empty()))
}
