"""Councils: several are asked one question, each alone, and a synthesis decides. What they came to is kept.

| module | what it does |
| --- | --- |
| `personas` | the recipes that members are asked with: that of opinions with a persona before it |
| `convene` | an item gets its members as parts; no model is asked for that |
| `opinions` | what they said, as passages of the synthesis |
| `combine` | what a synthesis comes to beside the opinions: confidence, risk, dissent, and whether a person must look |
| `text` | a decision as Markdown, and back |
| `records` | the table `decision_record` |
"""
