"""Series descriptions without free text: what technicians type there may name a patient."""

from __future__ import annotations

import re

PROTOCOL = """
t1 t1w t2 t2w t2star pd pdw flair dwi adc trace swi swan dti dsc dce asl perf perfusion diffusion bold fmri rest tof mra
mrv mrcp mprage mp2rage bravo spgr flash space cube vista stir spair spir fatsat fs fat water dixon vibe lava thrive
tse fse ffe tfe gre ge se ep2d epi haste ssfse trufi fiesta bffe ciss propeller blade radial star inphase oppphase
in opp out phase mag magnitude real fieldmap field map iso isotropic ax axial tra trans transverse cor coronal sag
sagittal obl oblique localizer localiser loc scout topogram surview survey cal calibration mpr mip minip recon
reformat curved thick thin slab slice slices vol volume series pre post gd gad contrast ce c+ c- nc non native plain
without with kontrast km arterial art venous ven portal pv delayed delay late early excretory nephrographic dyn
dynamic ct cta ctv ctpa hrct ldct low std standard high dose lung bone soft tissue mediastinum brain body smooth sharp
medium detail kernel filter filtered fbp ir asir mbir idose safire admire dual energy mono kev kv pet wb whole ac nac
corrected uncorrected attenuation suv fdg psma dotatate naf spect nm us xr dx cr mg head skull neck cervical thoracic
lumbar spine tspine lspine cspine chest thorax thx abdomen abd abdo pelvis pel hip knee shoulder elbow wrist hand
ankle foot femur tibia arm leg breast cardiac heart coronary aorta liver hepatic pancreas spleen kidney renal
adrenal bladder prostate uterus ovary rectum rectal bowel colon orbit orbits iac sinus sinuses face facial larynx
pituitary hippocampus angio carotid cow vessel run off left right lt rt l r bilateral ap pa lat lateral supine prone
erect upright insp exp inspiration expiration breath hold bh trigger triggered gated nav navigator free breathing
2d 3d 4d mm ms b te tr ti fa fov nex acc grappa sense mb screening follow up followup baseline routine protocol
study test phantom seg segmentation mask label original primary derived secondary resampled registered
""".split()
KNOWN = frozenset(PROTOCOL)
NUMBER = re.compile(r"\d{1,2}(\.\d{1,2})?(mm|cm|ms|s|min|d|x|t|kv)?|(b|e|h|i|v|bl|br|hr|te|tr|ti|fa)\d{1,4}[a-z]?")
CHAIN = re.compile(r"\d+(?:[-/:.]\d+)+")  # dates, times and record numbers; one decimal number is none


def safe(text: str) -> str:
    """The words of a description that name a protocol, a body part or a short number (1.25mm, b1000), in lower case."""
    kept = CHAIN.sub(lambda found: found[0] if NUMBER.fullmatch(found[0]) else " ", text.lower())
    words = (word.strip(".") for word in re.split(r"[^a-z0-9+.]+", kept))
    return " ".join(word for word in words if word in KNOWN or NUMBER.fullmatch(word))
