# Change a setting from the command line; the results of the suite stay.
before=$(sha256sum runs/smoke_letters/erm/0/predictions.parquet)
snakemake --cores 1 --config suite=smoke only=smoke_letters/erm/0 set='training.epochs=1' --until evaluate_smoke_letters > log 2>&1
grep -h '"epochs": 1' runs/smoke_letters/erm~*/0/model.json
test "$before" = "$(sha256sum runs/smoke_letters/erm/0/predictions.parquet)"
