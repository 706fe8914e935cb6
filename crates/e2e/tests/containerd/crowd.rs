//! Many pods at the same time, each with groups of its own.

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::Trial;

use crate::steps::{app, check, strict};
use crate::world::{World, trial};
use e2e::Pod;

const THREADS: u32 = 8;
const PODS_PER_THREAD: u32 = 5;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("crowd::each_of_forty_pods_gets_its_own_groups", |world| {
        let problems: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|thread| scope.spawn(move || several(world, thread))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
            };
            threads
                .into_iter()
                .filter_map(|thread| join(thread).err())
                .map(|error| format!("{error:#}"))
                .collect()
        });
        ensure!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(())
    })]
}

fn several(world: &World, thread: u32) -> Result<()> {
    for number in (0..PODS_PER_THREAD).map(|number| thread * PODS_PER_THREAD + number) {
        // Scattered over all gids, none of them twice, and sometimes the image's own.
        let own: Vec<u32> =
            (0..number % 4).map(|n| (number * 4 + n + 1).wrapping_mul(2_654_435_761) >> 1).collect();
        let declared: Vec<u32> = own.iter().copied().chain((number % 5 == 0).then_some(50000)).collect();
        let spec = app().supplemental(&declared.iter().copied().map(i64::from).collect::<Vec<_>>());
        let name = format!("crowd-{number}");
        let (pod, added) =
            if number % 2 == 0 { (strict(&name), None) } else { (Pod::new(&name), Some(50000)) };
        let groups: Vec<u32> = declared.iter().copied().chain([3000]).chain(added).collect();
        check(&world.old, &pod, &spec, &groups).with_context(|| format!("declared {declared:?}"))?;
    }
    Ok(())
}
