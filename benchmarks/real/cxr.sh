#!/usr/bin/env bash
# The chest X-ray runs of docs/results.md; stopped and started again it goes on where it was.
# run: DATA=folder/of/cxr OUT=runs/cxr benchmarks/real/cxr.sh
# DATA holds open/images and metadata.csv; one core is used.
set -euo pipefail
export OMP_NUM_THREADS=1
mkdir -p "$OUT"
if [ ! -f "$OUT/manifest.csv" ]; then
  medssl scan "$DATA/open/images" --table "$DATA/metadata.csv" --id id --columns class=label,patient=patient --out "$OUT/manifest.csv"
  medssl prepare "$OUT/manifest.csv" --out "$OUT/cache" --preset xray
fi
python "$(dirname "$0")/cxr_splits.py" "$DATA/metadata.csv" "$OUT/splits.json"
data="data.cache=$OUT/cache data.splits=$OUT/splits.json data.key=$OUT/manifest.key"
medssl pretrain dira_tiny_2d $data data.train=pretrain out="$OUT/pretrain" "views.size=[128,128]" encoder.norm=group decoder.norm=group \
  train.batch=16 train.steps=625 resume=true
for seed in 0 1 2; do
  for init in scratch "$OUT/pretrain"; do
    out="$OUT/ft_$(basename "$init")_s$seed"
    if [ -f "$out/results.json" ]; then continue; fi
    medssl finetune classify_tiny_2d $data data.train=train data.val=val data.test=test \
      'augment.size=[128,128]' encoder.norm=group optimizers.main.lr=2e-3 train.steps=400 train.batch=16 \
      'task.classes=[no_finding,pneumonia]' task.positive=pneumonia seed=$seed init="$init" out="$out" resume=true
  done
done
