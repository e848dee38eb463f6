//! The machine as a whole, at a slower pace than the host: cores, their use, and memory.

use sysinfo::{MemoryRefreshKind, System};
use trimtab_core::moment::{Moment, Span};
use trimtab_core::observation::MachineSample;
use trimtab_protocol::decision::Absence;
use trimtab_sys::process::usable_cpus;

/// How often the machine is read anew; in between, the last reading stands.
pub const PERIOD: Span = Span::from_secs(10);

/// Reads the machine.
#[derive(Debug)]
pub struct MachineReader {
    system: Option<System>,
    last: Option<(Moment, Option<u32>, MachineSample)>,
}

impl Default for MachineReader {
    fn default() -> Self {
        Self::new()
    }
}

impl MachineReader {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            system: System::new().ok(),
            last: None,
        }
    }

    /// The machine as it was within the last [`PERIOD`], with the cores that the process of this number may use; without a
    /// number, those that the sidecar may use.
    ///
    /// # Errors
    /// `NotOffered` where the machine tells nothing about its memory.
    pub fn read(&mut self, at: Moment, pid: Option<u32>) -> Result<MachineSample, Absence> {
        if let Some((read_at, of, sample)) = self.last
            && of == pid
            && at.since(read_at) < PERIOD
        {
            return Ok(sample);
        }
        let system = self.system.as_mut().ok_or(Absence::NotOffered)?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        system.refresh_cpu_usage();
        if system.total_memory() == 0 {
            return Err(Absence::NotOffered);
        }
        // The share is of the time since the last reading, so the first has none.
        let cpu_share = self
            .last
            .is_some()
            .then(|| f64::from(system.global_cpu_usage()) / 100.0)
            .filter(|share| (0.0..=1.0).contains(share));
        let sample = MachineSample {
            cores: cores(pid),
            cpu_share,
            memory_total_bytes: system.total_memory(),
            memory_available_bytes: system.available_memory(),
        };
        self.last = Some((at, pid, sample));
        Ok(sample)
    }
}

/// Cores by affinity and cpuset. The sidecar's own CPU quota says nothing about the host, so it is left out.
fn cores(pid: Option<u32>) -> f64 {
    let of_host = pid.and_then(|pid| usable_cpus(pid).ok());
    let cores = of_host.or_else(|| usable_cpus(0).ok()).unwrap_or(1);
    f64::from(cores.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_cores_and_memory() {
        let mut reader = MachineReader::new();
        let at = Moment::from_boot_ns(0);
        let sample = reader.read(at, Some(std::process::id())).expect("linux");
        assert!(sample.cores >= 1.0);
        assert!(sample.memory_available_bytes > 0);
        assert!(sample.memory_available_bytes <= sample.memory_total_bytes);
        assert_eq!(
            sample.cpu_share, None,
            "there is no time to have a share of"
        );
    }

    #[test]
    fn a_reading_stands_for_its_period_and_no_longer() {
        let mut reader = MachineReader::new();
        let begin = Moment::from_boot_ns(5);
        reader.read(begin, None).expect("linux");
        let read_at = |reader: &MachineReader| reader.last.map(|(at, _, _)| at);
        let soon = begin.after(Span::from_ms(9_999));
        reader.read(soon, None).expect("linux");
        assert_eq!(read_at(&reader), Some(begin));
        let later = begin.after(PERIOD);
        reader.read(later, None).expect("linux");
        assert_eq!(read_at(&reader), Some(later));
        // Another host's cores are another figure.
        let pid = Some(std::process::id());
        reader
            .read(later.after(Span::from_ms(1)), pid)
            .expect("linux");
        assert_eq!(read_at(&reader), Some(later.after(Span::from_ms(1))));
    }
}
