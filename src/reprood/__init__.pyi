from reprood.api import compare as compare
from reprood.api import metrics as metrics
from reprood.api import score as score
