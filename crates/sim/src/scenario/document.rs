//! The file as it is written.

use serde::Deserialize;
use toml::Spanned;

/// A number with a unit, and where it stands.
pub(super) type Quantity = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) name: String,
    #[serde(default)]
    pub(super) about: String,
    pub(super) duration: Quantity,
    #[serde(default = "yes")]
    pub(super) scored: bool,
    pub(super) machine: Option<MachineTable>,
    #[serde(default)]
    pub(super) pool: Vec<Spanned<PoolTable>>,
    #[serde(default)]
    pub(super) event: Vec<Spanned<EventTable>>,
    // A host of one pool has the pool's keys here.
    kind: Option<Spanned<String>>,
    weight: Option<Spanned<f64>>,
    start: Option<Spanned<u64>>,
    min: Option<Spanned<u64>>,
    max: Option<Spanned<u64>>,
    operator: Option<Spanned<u64>>,
    slo: Option<Quantity>,
    queue_limit: Option<Spanned<u64>>,
    queue_deadline: Option<Quantity>,
    pub(super) timeout: Option<Quantity>,
    pub(super) timeout_min: Option<Quantity>,
    pub(super) timeout_max: Option<Quantity>,
    plant: Option<Spanned<PlantTable>>,
    load: Option<Spanned<LoadTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineTable {
    pub(super) cores: Spanned<f64>,
    pub(super) memory_limit: Option<Quantity>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolTable {
    pub(super) name: Option<String>,
    pub(super) kind: Option<Spanned<String>>,
    pub(super) weight: Option<Spanned<f64>>,
    pub(super) start: Option<Spanned<u64>>,
    pub(super) min: Option<Spanned<u64>>,
    pub(super) max: Option<Spanned<u64>>,
    pub(super) operator: Option<Spanned<u64>>,
    pub(super) slo: Option<Quantity>,
    pub(super) queue_limit: Option<Spanned<u64>>,
    pub(super) queue_deadline: Option<Quantity>,
    pub(super) timeout: Option<Quantity>,
    pub(super) timeout_min: Option<Quantity>,
    pub(super) timeout_max: Option<Quantity>,
    pub(super) plant: Option<Spanned<PlantTable>>,
    pub(super) load: Option<Spanned<LoadTable>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlantTable {
    pub(super) work: Option<Spanned<WorkTable>>,
    pub(super) alpha: Option<Spanned<f64>>,
    pub(super) beta: Option<Spanned<f64>>,
    pub(super) capacity: Option<Spanned<f64>>,
    pub(super) cores: Option<Spanned<f64>>,
    pub(super) cpu_share: Option<Spanned<f64>>,
    pub(super) memory_base: Option<Quantity>,
    pub(super) memory_per_worker: Option<Quantity>,
    pub(super) memory_limit: Option<Quantity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkTable {
    pub(super) dist: Spanned<String>,
    pub(super) mean: Option<Quantity>,
    pub(super) cv: Option<Spanned<f64>>,
    pub(super) shape: Option<Spanned<f64>>,
    pub(super) small: Option<Quantity>,
    pub(super) large: Option<Quantity>,
    pub(super) small_share: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoadTable {
    pub(super) points: Option<Vec<(Quantity, Spanned<f64>)>>,
    pub(super) rate_points: Option<Vec<(Quantity, Spanned<f64>)>>,
    pub(super) rate: Option<Spanned<f64>>,
    pub(super) period: Option<Quantity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventTable {
    pub(super) at: Quantity,
    #[serde(rename = "for")]
    pub(super) span: Option<Quantity>,
    pub(super) kind: Spanned<String>,
    pub(super) pool: Option<Spanned<String>>,
    pub(super) workers: Option<Spanned<u64>>,
    pub(super) share: Option<Spanned<f64>>,
    pub(super) keep: Option<Spanned<f64>>,
    work: Option<Spanned<WorkTable>>,
    alpha: Option<Spanned<f64>>,
    beta: Option<Spanned<f64>>,
    capacity: Option<Spanned<f64>>,
    cores: Option<Spanned<f64>>,
    cpu_share: Option<Spanned<f64>>,
    memory_base: Option<Quantity>,
    memory_per_worker: Option<Quantity>,
    memory_limit: Option<Quantity>,
}

fn yes() -> bool {
    true
}

impl Document {
    /// Whether a pool's keys stand at the top although there are `[[pool]]` tables.
    pub(super) fn is_mixed(&self) -> bool {
        !self.pool.is_empty()
            && (self.start.is_some() || self.plant.is_some() || self.load.is_some())
    }

    /// The one pool whose keys stand at the top.
    pub(super) fn take_pool(&mut self) -> PoolTable {
        PoolTable {
            name: None,
            kind: self.kind.take(),
            weight: self.weight.take(),
            start: self.start.take(),
            min: self.min.take(),
            max: self.max.take(),
            operator: self.operator.take(),
            slo: self.slo.take(),
            queue_limit: self.queue_limit.take(),
            queue_deadline: self.queue_deadline.take(),
            timeout: self.timeout.take(),
            timeout_min: self.timeout_min.take(),
            timeout_max: self.timeout_max.take(),
            plant: self.plant.take(),
            load: self.load.take(),
        }
    }
}

impl EventTable {
    /// The plant keys of the event.
    pub(super) fn take_plant(&mut self) -> PlantTable {
        PlantTable {
            work: self.work.take(),
            alpha: self.alpha.take(),
            beta: self.beta.take(),
            capacity: self.capacity.take(),
            cores: self.cores.take(),
            cpu_share: self.cpu_share.take(),
            memory_base: self.memory_base.take(),
            memory_per_worker: self.memory_per_worker.take(),
            memory_limit: self.memory_limit.take(),
        }
    }
}
