"""Anomalies in single series, as the points come: how unlike anything before is what a series does now?

    value ─▶ history ─▶ distance to the most similar stretches of the past ─▶ how rare is it ─▶ score ─▶ episode
             history    distance                                              rarity                    episodes

- Compared is not a value but how the series has moved lately: with 800 stretches of its last 4,000 points, each of
  which may run up to two points early or late. What daily peaks, batch jobs and noise have done before is near to
  some of them; what has not been seen is near to none. No season, trend or distribution is assumed.
- The distance says nothing by itself (it has the unit of the values). Its rank among the last 4,000 distances does:
  the score is -log10 of the share of them that are as large, so that 2 means "one point in a hundred". Every series is
  its own measure; nothing is tuned for one.
- An episode begins where the score reaches a bar, and ends when it has been low for a while. It is one alarm, good
  enough for advice; which score to page at, `threshold_for` says by the false alarms that are put up with.

Nearest neighbours and their conformal rank are those of Burnaev and Ishimtsev, "Conformalized density- and
distance-based anomaly detection in time-series data", 2016; the fading and elastic comparison is ours.

Everything is causal and a function of the points alone: the same points give the same scores, in whatever batches they
come and wherever a snapshot was taken. A series costs about 20 µs a point (100 where it
comes alone) and 48 KB.
"""

from engine.anomaly.budget import alarms_per_day, threshold_for
from engine.anomaly.detector import LIMIT, ROW_BYTES, Detector, Verdicts
from engine.anomaly.episodes import THRESHOLD, Episode
from engine.anomaly.standing import Standing

__all__ = [
    "LIMIT",
    "ROW_BYTES",
    "THRESHOLD",
    "Detector",
    "Episode",
    "Standing",
    "Verdicts",
    "alarms_per_day",
    "threshold_for",
]
