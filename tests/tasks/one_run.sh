# One method, one seed; a misspelt name is one sentence.
snakemake --cores 1 --config suite=smoke only=smoke_letters/erm/0 --until evaluate_smoke_letters > log 2>&1
test -s results/smoke~only-smoke_letters-erm-0/runs/smoke_letters/erm/0/metrics.csv
if snakemake -n --config suite=smoke only=smoke_letters/emr/0 > log 2>&1; then exit 1; fi
if grep Traceback log; then exit 1; fi
grep -q "did you mean 'erm'" log
