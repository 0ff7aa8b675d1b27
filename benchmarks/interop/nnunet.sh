#!/usr/bin/env bash
# nnU-Net trains from an export of ours: one epoch of two iterations on a phantom, on a CPU, with released nnU-Net
# (`-pretrained_weights`) and, where NNUNET_SOURCE names a checkout of its development branch, by its route for nnssl.
# usage: benchmarks/interop/nnunet.sh [FOLDER]     (FOLDER keeps the environment and the data; default: a temporary one)
#   PYTHON=python of an environment with medssl and dynamic-network-architectures (default: python3)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-$(mktemp -d)}
ours=${PYTHON:-python3}
mkdir -p "$work"
cd "$work"

[ -x env/bin/nnUNetv2_train ] || {
	python3 -m venv env
	pip=(env/bin/python -m pip install --quiet --disable-pip-version-check)
	"${pip[@]}" torch==2.13.0
	# what nnU-Net imports; its own list would also bring torchvision, which breaks beside a CPU torch
	"${pip[@]}" numpy scipy scikit-learn scikit-image SimpleITK pandas nibabel matplotlib tifffile requests graphviz \
		seaborn imagecodecs yacs einops blosc2 tqdm future threadpoolctl connected-components-3d huggingface_hub setuptools
	"${pip[@]}" --no-deps nnunetv2 dynamic-network-architectures batchgenerators batchgeneratorsv2 acvl-utils
}
env/bin/python -c "from importlib.metadata import version as v; print('nnunetv2', v('nnunetv2'), 'torch', v('torch'))"

export nnUNet_raw=$work/raw nnUNet_preprocessed=$work/preprocessed nnUNet_results=$work/results
export nnUNet_n_proc_DA=1 nnUNet_compile=f nnUNet_def_n_proc=1 OMP_NUM_THREADS=1
rm -rf "$nnUNet_raw" "$nnUNet_preprocessed" "$nnUNet_results" run export seen.pth seen_nnssl.pth

echo "== a pretraining of two steps, and its export"
"$ours" "$here/nnunet_case.py" data "$nnUNet_raw"
"$ours" -m medssl.cli pretrain dira_resenc_3d data.phantom='{cases: 4, size: [40, 40, 40]}' data.workers=0 \
	encoder.stages=4 views.size='[32, 32, 32]' train.steps=2 train.batch=2 train.precision=32 \
	optimizers.main.warmup=0 device=cpu out=run
"$ours" -m medssl.cli export run --to nnunet --out export

echo "== released nnU-Net: plan, preprocess, train one epoch with -pretrained_weights"
trainers=$(env/bin/python -c "import nnunetv2, os; print(os.path.join(nnunetv2.__path__[0], 'training', 'nnUNetTrainer'))")
cp "$here/nnunet_trainer.py" "$trainers/"
env/bin/nnUNetv2_plan_and_preprocess -d 1 -pl nnUNetPlannerResEncM -c 3d_fullres -np 1 -npfp 1 --verify_dataset_integrity
SEEN=$work/seen.pth env/bin/nnUNetv2_train 1 3d_fullres all -tr MedsslOneEpoch -p nnUNetResEncUNetMPlans \
	-pretrained_weights export/checkpoint_final.pth -device cpu
env/bin/python "$here/nnunet_case.py" compare export/checkpoint_final.pth seen.pth

[ -n "${NNUNET_SOURCE:-}" ] || {
	echo "== the route for nnssl was not run: NNUNET_SOURCE names no checkout of nnU-Net's development branch"
	exit 0
}
echo "== nnU-Net's development branch: like_nnssl, then train_from_pretrained"
cp "$here/nnunet_trainer.py" "$NNUNET_SOURCE/nnunetv2/training/nnUNetTrainer/"
export PYTHONPATH=$NNUNET_SOURCE
env/bin/python -m nnunetv2.experiment_planning.like_nnssl -d 1 -n medssl -pc export/checkpoint_final.pth -am like_pretrained -np 1
plans=$(basename "$(ls preprocessed/Dataset001_Phantom/ptPlans__medssl*.json)" .json)
SEEN=$work/seen_nnssl.pth env/bin/python -m nnunetv2.run.run_training_from_pretrained 1 3d_fullres all -p "$plans" \
	-tr MedsslOneEpochPretrained -device cpu
env/bin/python "$here/nnunet_case.py" compare export/checkpoint_final.pth seen_nnssl.pth
