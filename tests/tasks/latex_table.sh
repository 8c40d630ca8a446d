# A LaTeX table: it is there.
grep -q toprule reports/smoke/tables/smoke_letters/leaderboard.tex
