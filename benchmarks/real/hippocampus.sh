#!/usr/bin/env bash
# The hippocampus runs of docs/results.md; stopped and started again it goes on where it was.
# run: DATA=folder/of/hippocampus OUT=runs/hippocampus WORKERS=2 benchmarks/real/hippocampus.sh
# DATA holds open/images, open/labels and splits.json; WORKERS runs go at a time, each on one thread.
# Every start is tried with the same learning rates on 4 labels of seed 0; validation chooses, the test is not asked.
# SHORT (5,000 samples) is how long the methods other than DiRA + AdCo + ContrastiveCrop and MAE (20,000) learn.
set -euo pipefail
export OMP_NUM_THREADS=1 DATA OUT
rates="1e-2 2.5e-2"
methods="dira_adco_ccrop mae models_genesis moco_v2 adco simsiam barlow_twins"

pretrain() { # method [key=value ...]
  local m=$1
  shift
  medssl pretrain "${m}_tiny_3d" data.cache="$OUT/cache" data.splits="$DATA/splits.json" data.key="$OUT/manifest.key" data.train=pretrain \
    resume=true out="$OUT/$m" "$@" > "$OUT/$m.log" 2>&1
}

finetune() { # folder start fraction seed rate [key=value ...]
  local out="$OUT/$1" start=$2 fraction=$3 seed=$4 rate=$5 from=scratch
  shift 5
  if [ "$start" != scratch ]; then from="$OUT/$start"; fi
  case $start in moco_v2 | adco | simsiam | barlow_twins) set -- "$@" "init_parts=[encoder]" ;; esac
  if [ -f "$out/results.json" ]; then return; fi
  medssl finetune segment_tiny_3d data.cache="$OUT/cache" data.splits="$DATA/splits.json" data.key="$OUT/manifest.key" \
    data.train="seed${seed}_$fraction" data.val=val data.test=test task.classes=3 optimizers.main.lr="$rate" \
    seed="$seed" init="$from" out="$out" resume=true "$@" > "$out.log" 2>&1
}

chosen() { # start -> the rate whose try had the best validation
  python - "$OUT/tries/$1" $rates << 'PY'
import json, sys
tries, *rates = sys.argv[1:]
print(max(rates, key=lambda rate: json.load(open(f"{tries}_{rate}/results.json"))["validation"]))
PY
}

export -f pretrain finetune
at_once() { xargs -P "${WORKERS:-1}" -I{} bash -euo pipefail -c "{}"; }

mkdir -p "$OUT/tries"
if [ ! -d "$OUT/cache" ]; then
  medssl scan "$DATA/open/images" --labels "$DATA/open/labels" --out "$OUT/manifest.csv"
  medssl prepare "$OUT/manifest.csv" --out "$OUT/cache" --preset mr
fi
for m in $methods; do
  case $m in dira_adco_ccrop | mae) echo "pretrain $m" ;; *) echo "pretrain $m train.steps=$((${SHORT:-5008} / 16))" ;; esac
done | at_once
for m in scratch $methods; do for r in $rates; do echo "finetune tries/${m}_$r $m n4 0 $r"; done; done | at_once
for s in 0 1 2; do
  for m in scratch $methods; do echo "finetune ft_${m}_n4_s$s $m n4 $s $(chosen $m)"; done
  echo "finetune ft_scratch3x_n4_s$s scratch n4 $s $(chosen scratch) train.steps=1800"
done | at_once
for s in 0 1 2; do
  echo "finetune ft_scratch3x_n8_s$s scratch n8 $s $(chosen scratch) train.steps=1800"
  for m in scratch dira_adco_ccrop; do echo "finetune ft_${m}_n8_s$s $m n8 $s $(chosen $m)"; done
done | at_once
