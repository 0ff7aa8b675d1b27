#!/usr/bin/env bash
# The hippocampus runs of docs/results.md; stopped and started again it goes on where it was.
# run: DATA=folder/of/hippocampus OUT=runs/hippocampus benchmarks/real/hippocampus.sh
# DATA holds open/images, open/labels and splits.json; one core is used (run two with PART=a and PART=b).
set -euo pipefail
export OMP_NUM_THREADS=1
part=${PART:-ab}
mkdir -p "$OUT"
if [ ! -f "$OUT/manifest.csv" ]; then
  medssl scan "$DATA/open/images" --labels "$DATA/open/labels" --out "$OUT/manifest.csv"
  medssl prepare "$OUT/manifest.csv" --out "$OUT/cache" --preset mr
fi
data="data.cache=$OUT/cache data.splits=$DATA/splits.json"

pretrain() { # recipe [key=value ...]
  local name=$1; shift
  medssl pretrain "$name" $data data.train=pretrain out="$OUT/$name" resume=true "$@"
}
finetune() { # name fraction seed init [key=value ...]
  local out="$OUT/ft_$1_$2_s$3" fraction=$2 seed=$3 init=$4; shift 4
  if [ -f "$out/results.json" ]; then return; fi
  medssl finetune segment_tiny_3d $data data.train="seed${seed}_$fraction" data.val=val data.test=test \
    task.classes=3 optimizers.main.lr=2.5e-2 seed="$seed" init="$init" out="$out" resume=true "$@"
}
parts() { # what a base without restoration has to give
  case $1 in models_genesis) ;; *) echo "init_parts=[encoder]" ;; esac
}
seeds="0 1 2"
if [[ $part == *a* ]]; then
  pretrain dira_adco_ccrop_tiny_3d
  for s in $seeds; do for f in n4 n8; do
    finetune dira $f $s "$OUT/dira_adco_ccrop_tiny_3d"
    finetune dira-tuned $f $s "$OUT/dira_adco_ccrop_tiny_3d" optimizers.main.lr=1e-2
  done; done
  for name in moco_v2 simsiam barlow_twins; do
    pretrain ${name}_tiny_3d train.steps=313
    for s in $seeds; do finetune $name n4 $s "$OUT/${name}_tiny_3d" $(parts $name); done
  done
fi
if [[ $part == *b* ]]; then
  for s in $seeds; do for f in n4 n8; do finetune scratch $f $s scratch; done; done
  pretrain mae_tiny_3d
  for s in $seeds; do finetune mae n4 $s "$OUT/mae_tiny_3d"; done
  for s in $seeds; do for f in n4 n8; do finetune scratch3x $f $s scratch train.steps=1800; done; done
  for name in models_genesis adco; do
    pretrain ${name}_tiny_3d train.steps=313
    for s in $seeds; do finetune $name n4 $s "$OUT/${name}_tiny_3d" $(parts $name); done
  done
fi
