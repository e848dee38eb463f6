//! What queueing theory says, and what the simulator does.

use crate::support::{mean_response, observations, scenario, still};
use trimtab_sim::world::League;

/// The chance to wait with `servers` under so many erlangs.
fn erlang_c(servers: u32, erlangs: f64) -> f64 {
    let blocking = (1..=servers).fold(1.0, |blocking, server| {
        erlangs * blocking / (f64::from(server) + erlangs * blocking)
    });
    let rho = erlangs / f64::from(servers);
    blocking / (1.0 - rho + rho * blocking)
}

#[test]
fn response_times_are_those_of_m_m_c() {
    for (servers, rate) in [(1_u32, 14.0), (4, 64.0), (10, 170.0)] {
        let plant = "work = { dist = \"exponential\", mean = \"50ms\" }";
        let load = format!("rate = {rate}");
        let scenario = scenario(8_000, u64::from(servers), plant, &load, "");
        let service_rate = 20.0;
        let wait =
            erlang_c(servers, rate / service_rate) / (f64::from(servers) * service_rate - rate);
        let expected = wait + 1.0 / service_rate;
        let found =
            (mean_response(&still(&scenario, 1)) + mean_response(&still(&scenario, 2))) / 2.0;
        assert!(
            (found / expected - 1.0).abs() < 0.04,
            "{servers}: {found} against {expected}"
        );
    }
}

#[test]
fn processor_sharing_has_the_mean_of_m_m_1_whatever_the_work_is() {
    // With a downstream of one, all jobs in service share it; the mean depends on the mean of the work alone.
    for work in [
        "{ dist = \"exponential\", mean = \"50ms\" }",
        "{ dist = \"constant\", mean = \"50ms\" }",
        "{ dist = \"bimodal\", small = \"20ms\", large = \"320ms\", small_share = 0.9 }",
    ] {
        // Beyond three times its capacity a downstream sags, so the scalability law shares here: alpha 1 gives 1/n.
        let plant = format!("work = {work}\nalpha = 1.0\nbeta = 0.0");
        let scenario = scenario(8_000, 512, &plant, "rate = 12.0", "");
        let expected = 0.05 / (1.0 - 0.6);
        let found =
            (mean_response(&still(&scenario, 1)) + mean_response(&still(&scenario, 2))) / 2.0;
        assert!(
            (found / expected - 1.0).abs() < 0.05,
            "{work}: {found} against {expected}"
        );
    }
}

#[test]
fn the_integrals_are_littles_law() {
    let plant =
        "work = { dist = \"lognormal\", mean = \"50ms\", cv = 1.0 }\nalpha = 0.03\nbeta = 0.0008";
    let scenario = scenario(600, 20, plant, "rate = 190.0", "");
    let last = observations(&scenario, 3, League::InProcess).pop().unwrap();
    let pool = &last.state.fresh().unwrap().pools["main"];
    let (service, wait) = (&pool.histograms.service_us, &pool.histograms.wait_us);
    let close = |integral: Option<u64>, sum: u64| {
        let integral = integral.unwrap() as f64;
        assert!(
            (integral / sum as f64 - 1.0).abs() < 0.01,
            "{integral} against {sum}"
        );
    };
    close(pool.counters.busy_us, service.as_ref().unwrap().sum_us);
    close(pool.counters.wait_us, wait.as_ref().unwrap().sum_us);
    let counters = &pool.counters;
    let gone =
        counters.completed.unwrap() + counters.rejected.unwrap() + counters.timed_out.unwrap();
    let here = pool.gauges.busy.unwrap() + pool.gauges.queued.unwrap();
    assert_eq!(
        counters.arrived.unwrap(),
        gone + here,
        "no job is lost or counted twice"
    );
}

#[test]
fn a_saturated_pool_completes_what_the_law_says() {
    for (workers, law) in [
        (5_u64, "alpha = 0.03\nbeta = 0.0008"),
        (35, "alpha = 0.03\nbeta = 0.0008"),
        (120, "alpha = 0.03\nbeta = 0.0008"),
        (40, "capacity = 24"),
        (100, "capacity = 24"),
        (16, "cores = 4\ncpu_share = 0.9"),
    ] {
        let plant = format!("work = {{ dist = \"exponential\", mean = \"50ms\" }}\n{law}");
        let scenario = scenario(400, workers, &plant, "points = [[\"0s\", 2.0]]", "");
        let expected = scenario.pools[0].plant.throughput(workers);
        let found = still(&scenario, 1).pools[0].completed as f64 / 400.0;
        assert!(
            (found / expected - 1.0).abs() < 0.03,
            "{law} at {workers}: {found} against {expected}"
        );
    }
}

#[test]
fn pools_that_share_cores_slow_each_other_down() {
    let pool = |name: &str, workers: u64| {
        format!(
            "[[pool]]\nname = \"{name}\"\nstart = {workers}\nmin = 1\nmax = 100\noperator = 8\nslo = \"10s\"\nqueue_limit = 1000\n\
             queue_deadline = \"5s\"\n[pool.plant]\nwork = {{ dist = \"exponential\", mean = \"50ms\" }}\ncpu_share = 0.5\n\
             [pool.load]\nrate = 2000.0\n"
        )
    };
    let text = format!(
        "name = \"two\"\nduration = \"200s\"\n[machine]\ncores = 4\n{}{}",
        pool("left", 8),
        pool("right", 24)
    );
    let scenario = trimtab_sim::scenario::Scenario::parse(&text, "two").unwrap();
    let outcome = still(&scenario, 1);
    // D = 32 * 0.5 = 16 on 4 cores: each job runs at 1 / (0.5 + 0.5 * 4).
    let rate = 1.0 / (0.5 + 0.5 * 4.0);
    for (pool, workers) in [(0, 8.0), (1, 24.0)] {
        let expected = workers * rate / 0.05;
        let found = outcome.pools[pool].completed as f64 / 200.0;
        assert!(
            (found / expected - 1.0).abs() < 0.03,
            "{found} against {expected}"
        );
    }
}
