#!/usr/bin/env bash
# The demo on several seeds, one after the other: benchmarks/demo_seeds.sh OUT [FIRST LAST]; about 5 minutes a seed on 2 cores.
# Settings were chosen on seeds from 100 on; 0 to 9 are judged once. A seed is positive where the probe of the pretrained
# network is above the untrained ones at SHOTS films per pattern. Finished seeds are kept, so that it can be killed.
set -euo pipefail
out=${1:?usage: benchmarks/demo_seeds.sh OUT [FIRST LAST]} first=${2:-0} last=${3:-9}
mkdir -p "$out"
for seed in $(seq "$first" "$last"); do
    [ -f "$out/$seed/report.html" ] || { rm -rf "${out:?}/$seed" && medssl demo --out "$out/$seed" --seed "$seed" >"$out/$seed.log"; }
done
python - "$out" "$first" "$last" <<'PY'
import sys
from pathlib import Path

from medssl.verbs.demo import probed, sentence

out, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
won = 0
for seed in range(first, last + 1):
    values = probed(out / str(seed))
    won += values["this encoder"]["value"] > values["untrained"]["value"]
    print(seed, sentence(out / str(seed)))
print(f"positive: {won} of {last - first + 1}")
PY
