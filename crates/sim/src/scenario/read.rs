//! From the file to the scenario: units, missing keys, and what contradicts itself.

use super::document::{
    Document, EventTable, LoadTable, PlantTable, PoolTable, Quantity, WorkTable,
};
use super::quantity;
use super::{Event, EventKind, Load, Machine, Pool, Scenario};
use super::{TIMEOUT_DEFAULT, TIMEOUT_MAX_DEFAULT, TIMEOUT_MIN_DEFAULT};
use crate::plant::Plant;
use crate::work::Work;
use toml::Spanned;
use trimtab_protocol::state::PoolKind;

/// What is wrong, and the byte at which it stands.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) what: String,
}

type Read<T> = Result<T, Wrong>;

fn wrong<T>(at: usize, what: impl Into<String>) -> Read<T> {
    let what = what.into();
    Err(Wrong { at, what })
}

pub(super) fn scenario(text: &str) -> Read<Scenario> {
    let mut document: Document = toml::from_str(text).map_err(|error| Wrong {
        at: error.span().map_or(0, |span| span.start),
        what: error.message().trim().to_owned(),
    })?;
    let machine = document.machine.take().map(|table| {
        let memory_limit = table.memory_limit.as_ref().map(bytes).transpose()?;
        let cores = positive(&table.cores, "cores")?;
        Ok(Machine {
            cores,
            memory_limit,
        })
    });
    let machine = machine.transpose()?;
    let pools = pools(&mut document)?;
    let mut scenario = Scenario {
        name: document.name.clone(),
        about: document.about.clone(),
        duration: some_time(&document.duration)?,
        scored: document.scored,
        machine,
        pools,
        events: Vec::new(),
    };
    for event in document.event {
        let event = read_event(event, &scenario.pools)?;
        scenario.events.push(event);
    }
    Ok(scenario)
}

fn pools(document: &mut Document) -> Read<Vec<Pool>> {
    if document.is_mixed() {
        let at = document.pool.first().map_or(0, |pool| pool.span().start);
        return wrong(at, "a pool's keys stand both at the top and in `[[pool]]`");
    }
    if document.pool.is_empty() {
        let table = document.take_pool();
        return Ok(vec![pool(table, 0, "main".to_owned())?]);
    }
    let tables = std::mem::take(&mut document.pool);
    let mut pools: Vec<Pool> = Vec::new();
    for table in tables {
        let at = table.span().start;
        let mut table = table.into_inner();
        let Some(name) = table.name.take() else {
            return wrong(at, "missing key `name`");
        };
        if pools.iter().any(|pool| pool.name == name) {
            return wrong(at, format!("there are two pools `{name}`"));
        }
        // What stands at the top holds for all pools that say nothing else.
        let or = |own: &mut Option<Quantity>, common: &Option<Quantity>| {
            if own.is_none() {
                own.clone_from(common);
            }
        };
        or(&mut table.timeout, &document.timeout);
        or(&mut table.timeout_min, &document.timeout_min);
        or(&mut table.timeout_max, &document.timeout_max);
        pools.push(pool(table, at, name)?);
    }
    Ok(pools)
}

fn need<T>(value: Option<T>, key: &str, at: usize) -> Read<T> {
    match value {
        Some(value) => Ok(value),
        None => wrong(at, format!("missing key `{key}`")),
    }
}

fn pool(table: PoolTable, at: usize, name: String) -> Read<Pool> {
    let load_table = need(table.load, "load", at)?;
    let plant_table = need(table.plant, "plant", at)?;
    let plant_at = plant_table.span().start;
    let mut plant_table = plant_table.into_inner();
    let Some(work_table) = plant_table.work.take() else {
        return wrong(plant_at, "missing key `work`");
    };
    let mut plant = bare_plant(work(&work_table)?);
    replace(&mut plant, &plant_table)?;
    let time = |key: &Option<Quantity>, default| key.as_ref().map_or(Ok(default), some_time);
    let pool = Pool {
        name,
        kind: table.kind.as_ref().map_or(Ok(PoolKind::Other), kind)?,
        weight: match &table.weight {
            Some(weight) => positive(weight, "weight")?,
            None => 1.0,
        },
        start: at_least_one(&need(table.start, "start", at)?, "start")?,
        min: at_least_one(&need(table.min, "min", at)?, "min")?,
        max: at_least_one(&need(table.max.clone(), "max", at)?, "max")?,
        operator: at_least_one(&need(table.operator, "operator", at)?, "operator")?,
        slo: some_time(&need(table.slo, "slo", at)?)?,
        queue_limit: need(table.queue_limit, "queue_limit", at)?.into_inner(),
        queue_deadline: some_time(&need(table.queue_deadline, "queue_deadline", at)?)?,
        timeout: time(&table.timeout, TIMEOUT_DEFAULT)?,
        timeout_min: time(&table.timeout_min, TIMEOUT_MIN_DEFAULT)?,
        timeout_max: time(&table.timeout_max, TIMEOUT_MAX_DEFAULT)?,
        load: load(&load_table, plant.peak())?,
        plant,
    };
    let max_at = table.max.map_or(at, |max| max.span().start);
    if pool.max < pool.min {
        return wrong(
            max_at,
            format!("max {} is below min {}", pool.max, pool.min),
        );
    }
    if pool.timeout_max < pool.timeout_min {
        let at = table.timeout_max.map_or(at, |max| max.span().start);
        return wrong(at, "timeout_max is below timeout_min");
    }
    Ok(pool)
}

fn kind(word: &Spanned<String>) -> Read<PoolKind> {
    match word.get_ref().as_str() {
        "web" => Ok(PoolKind::Web),
        "api" => Ok(PoolKind::Api),
        "background" => Ok(PoolKind::Background),
        "other" => Ok(PoolKind::Other),
        word_is => wrong(
            word.span().start,
            format!("`{word_is}` is no kind: web, api, background, other"),
        ),
    }
}

fn bare_plant(work: Work) -> Plant {
    Plant {
        work,
        alpha: None,
        beta: None,
        capacity: None,
        cores: None,
        cpu_share: None,
        memory_base: 0.0,
        memory_per_worker: 0.0,
        memory_limit: None,
    }
}

/// Replaces what the table names.
fn replace(plant: &mut Plant, table: &PlantTable) -> Read<()> {
    if let Some(table) = &table.work {
        plant.work = work(table)?;
    }
    let set = |to: &mut Option<f64>, key: &Option<Spanned<f64>>, check: Check, name| -> Read<()> {
        if let Some(key) = key {
            *to = Some(check(key, name)?);
        }
        Ok(())
    };
    set(&mut plant.alpha, &table.alpha, not_negative, "alpha")?;
    set(&mut plant.beta, &table.beta, not_negative, "beta")?;
    set(&mut plant.capacity, &table.capacity, positive, "capacity")?;
    set(&mut plant.cores, &table.cores, positive, "cores")?;
    set(&mut plant.cpu_share, &table.cpu_share, a_share, "cpu_share")?;
    if let Some(base) = &table.memory_base {
        plant.memory_base = bytes(base)?;
    }
    if let Some(each) = &table.memory_per_worker {
        plant.memory_per_worker = bytes(each)?;
    }
    if let Some(limit) = &table.memory_limit {
        plant.memory_limit = Some(bytes(limit)?);
    }
    Ok(())
}

fn work(table: &Spanned<WorkTable>) -> Read<Work> {
    let at = table.span().start;
    let table = table.get_ref();
    let mean = || some_time(need(table.mean.as_ref(), "mean", at)?);
    let number =
        |key: &Option<Spanned<f64>>, name, check: Check| check(need(key.as_ref(), name, at)?, name);
    match table.dist.get_ref().as_str() {
        "constant" => Ok(Work::Constant { mean: mean()? }),
        "exponential" => Ok(Work::Exponential { mean: mean()? }),
        "lognormal" => {
            let cv = number(&table.cv, "cv", not_negative)?;
            Ok(Work::Lognormal { mean: mean()?, cv })
        }
        "pareto" => {
            let shape = number(&table.shape, "shape", positive)?;
            if shape <= 1.0 {
                let at = table.shape.as_ref().map_or(at, |shape| shape.span().start);
                return wrong(at, "a Pareto distribution with a shape up to 1 has no mean");
            }
            Ok(Work::Pareto {
                mean: mean()?,
                shape,
            })
        }
        "bimodal" => Ok(Work::Bimodal {
            small: some_time(need(table.small.as_ref(), "small", at)?)?,
            large: some_time(need(table.large.as_ref(), "large", at)?)?,
            small_share: number(&table.small_share, "small_share", a_share)?,
        }),
        other => {
            let what = format!(
                "`{other}` is no distribution: constant, exponential, lognormal, pareto, bimodal"
            );
            wrong(table.dist.span().start, what)
        }
    }
}

fn load(table: &Spanned<LoadTable>, peak: f64) -> Read<Load> {
    let at = table.span().start;
    let table = table.get_ref();
    let period = table.period.as_ref().map(some_time).transpose()?;
    let (given, scale) = match (&table.points, &table.rate_points, &table.rate) {
        (Some(points), None, None) => (points, peak),
        (None, Some(points), None) => (points, 1.0),
        (None, None, Some(rate)) => {
            let points = vec![(0.0, not_negative(rate, "rate")?)];
            return Ok(Load { points, period });
        }
        _ => return wrong(at, "exactly one of `points`, `rate_points` and `rate`"),
    };
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (time, rate) in given {
        let at = quantity(time, quantity::seconds)?;
        if points.last().is_some_and(|(last, _)| *last > at) {
            return wrong(
                time.span().start,
                "a point before the one that stands before it",
            );
        }
        points.push((at, not_negative(rate, "points")? * scale));
    }
    if points.is_empty() {
        return wrong(at, "at least one point");
    }
    Ok(Load { points, period })
}

fn read_event(table: Spanned<EventTable>, pools: &[Pool]) -> Read<Event> {
    let at = table.span().start;
    let mut table = table.into_inner();
    let pool = match &table.pool {
        None => None,
        Some(name) => match pools.iter().position(|pool| pool.name == *name.get_ref()) {
            Some(index) => Some(index),
            None => {
                return wrong(
                    name.span().start,
                    format!("there is no pool `{}`", name.get_ref()),
                );
            }
        },
    };
    let kind = match table.kind.get_ref().as_str() {
        "plant" => {
            let keys = table.take_plant();
            let replaced = |pool: &Pool| {
                let mut plant = pool.plant.clone();
                replace(&mut plant, &keys).map(|()| plant)
            };
            EventKind::Plant(pools.iter().map(replaced).collect::<Read<_>>()?)
        }
        "hang" => EventKind::Hang,
        "blind" => EventKind::Blind,
        "garbage" => EventKind::Garbage,
        "refuse" => EventKind::Refuse,
        "override" => {
            let workers = need(table.workers.take(), "workers", at)?;
            let workers = at_least_one(&workers, "workers")?;
            EventKind::Override { workers }
        }
        "timeouts" => EventKind::Timeouts,
        "stall" => {
            let share = need(table.share.take(), "share", at)?;
            EventKind::Stall {
                share: a_share(&share, "share")?,
            }
        }
        "restart" => EventKind::Restart,
        "steal" => {
            let keep = need(table.keep.take(), "keep", at)?;
            EventKind::Steal {
                keep: a_share(&keep, "keep")?,
            }
        }
        other => {
            return wrong(
                table.kind.span().start,
                format!("`{other}` is no kind of event"),
            );
        }
    };
    Ok(Event {
        at: quantity(&table.at, quantity::seconds)?,
        span: table
            .span
            .as_ref()
            .map_or(Ok(0.0), |span| quantity(span, quantity::seconds))?,
        pool,
        kind,
    })
}

type Check = fn(&Spanned<f64>, &str) -> Read<f64>;

fn quantity(text: &Quantity, convert: fn(&str) -> Result<f64, String>) -> Read<f64> {
    convert(text.get_ref()).or_else(|what| wrong(text.span().start, what))
}

fn bytes(text: &Quantity) -> Read<f64> {
    quantity(text, quantity::bytes)
}

/// A time above zero.
fn some_time(text: &Quantity) -> Read<f64> {
    let seconds = quantity(text, quantity::seconds)?;
    if seconds > 0.0 {
        return Ok(seconds);
    }
    wrong(text.span().start, "no time at all")
}

fn at_least_one(number: &Spanned<u64>, key: &str) -> Read<u64> {
    if *number.get_ref() > 0 {
        return Ok(*number.get_ref());
    }
    wrong(number.span().start, format!("`{key}` is at least 1"))
}

fn checked(number: &Spanned<f64>, key: &str, holds: bool, rule: &str) -> Read<f64> {
    if holds && number.get_ref().is_finite() {
        return Ok(*number.get_ref());
    }
    wrong(number.span().start, format!("`{key}` is {rule}"))
}

fn positive(number: &Spanned<f64>, key: &str) -> Read<f64> {
    checked(number, key, *number.get_ref() > 0.0, "a number above 0")
}

fn not_negative(number: &Spanned<f64>, key: &str) -> Read<f64> {
    checked(
        number,
        key,
        *number.get_ref() >= 0.0,
        "a number of at least 0",
    )
}

fn a_share(number: &Spanned<f64>, key: &str) -> Read<f64> {
    let within = (0.0..=1.0).contains(number.get_ref());
    checked(number, key, within, "a share between 0 and 1")
}
