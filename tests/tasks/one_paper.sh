# One paper: only its trainings.
snakemake -n --cores 1 --config suite=quick paper=cutmix > log 2>&1
grep -E '^train +10$' log
