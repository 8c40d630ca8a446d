# A folder of classes, and a suite of twenty lines.
python make_images.py mine/train/cats mine/train/dogs mine/test/cats mine/test/dogs mine/test/noise
cat > mine.yaml <<'YAML'
datasets:
  pets:
    title: My pets
    licence: mine
    size: 32
    files: {train: {path: mine/train}, test: {path: mine/test}}
    splits:
      train: {reader: image_folder, files: [train]}
      test: {reader: image_folder, files: [test]}
suite: pets.yaml
YAML
cat > pets.yaml <<'YAML'
title: Pets
scale: reduced
seeds: 1
benchmarks:
  pets:
    title: Cats and dogs against noise
    preparation: {size: 32, channels: 3}
    train: {dataset: pets, split: train, limit: 20}
    validation: {dataset: pets, split: train, skip: 20, limit: 10}
    test: {dataset: pets, split: test, classes: [0, 1]}
    ood: {noise: {dataset: pets, split: test, classes: [2], shift: noise}}
    settings: {backbone: {name: wrn, depth: 10, width: 1}, training: {epochs: 1, batch_size: 8}}
methods: {erm: {use: erm, label: Cross-entropy}}
runs: [{benchmark: pets, methods: [erm]}]
YAML
snakemake --cores 1 --configfile mine.yaml -- results/pets/verdicts.csv results/pets/metrics.parquet > log 2>&1
grep -q ',noise,msp,auroc,' results/pets/metrics.csv
