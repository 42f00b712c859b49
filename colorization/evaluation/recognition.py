"""The rows of the paper's tables of recognition, as printed: what `dualattn test` measures stands beside them."""

from colorization.evaluation.papers import PaperTable, parse_rows

__all__ = ['RECOGNITION_TABLES']

_TOP1 = {'Top-1': (('accuracy/top1',), 1.0)}
_COCO = {
    'AP^b': (('bbox_mAP',), 100.0),
    'AP^b_50': (('bbox_mAP_50',), 100.0),
    'AP^b_75': (('bbox_mAP_75',), 100.0),
    'AP^m': (('segm_mAP',), 100.0),
    'AP^m_50': (('segm_mAP_50',), 100.0),
    'AP^m_75': (('segm_mAP_75',), 100.0),
}
_NUSCENES = {'mAP': (('NuScenes/mAP',), 100.0), 'NDS': (('NuScenes/NDS',), 100.0)}
# the paper's columns: names of the classes. Their AP is the mean over four distances.
_NUSCENES_CLASSES = {
    'Car': 'car',
    'Truck': 'truck',
    'Bus': 'bus',
    'Trailer': 'trailer',
    'Vehicle': 'construction_vehicle',
    'Pedestrian': 'pedestrian',
    'Motorcycle': 'motorcycle',
    'Bicycle': 'bicycle',
    'Traffic_cone': 'traffic_cone',
    'Barrier': 'barrier',
}
_NUSCENES_APS = {
    column: (tuple(f'NuScenes/{name}_AP_dist_{distance}' for distance in ('0.5', '1.0', '2.0', '4.0')), 1.0)
    for column, name in _NUSCENES_CLASSES.items()
}
# the mean over the three classes, each with its own overlap (0.7 for cars, 0.5 for the others)
_KITTI = {
    f'{name} {difficulty}': (
        tuple(f'KITTI/{kind}_{key}_AP11_{difficulty}_strict' for kind in ('Pedestrian', 'Cyclist', 'Car')),
        1.0,
    )
    for name, key in (('bbox', '2D'), ('bev', 'BEV'), ('3d', '3D'), ('aos', 'AOS'))
    for difficulty in ('easy', 'moderate', 'hard')
}


def _table(title: str, data: str, columns: str, text: str, figures: dict) -> PaperTable:
    headings = tuple(column.strip() for column in columns.split(','))
    rows = parse_rows(text, (data,), len(headings))
    return PaperTable(title, (data,), headings, rows, {}, {}, figures=figures)


RECOGNITION_TABLES = {
    'mpt-5': _table(
        'MPT Table V, ImageNet-1K at 224 x 224',
        'ImageNet val, 224 px',
        'Params, FLOPs, Top-1',
        """
        ResNet-50 | 25.0 4.1 76.2
        DeiT-Small/16 | 22.1 4.5 79.8
        PVT-Small | 24.5 3.8 79.8
        Swin-Tiny | 28.3 4.5 81.2
        CvT-13 | 20.0 4.5 81.6
        CoAtNet-0 | 25.0 4.2 81.6
        CaiT-XS-24 | 26.6 5.4 81.8
        ViL-Small | 24.6 5.1 82.0
        PVTv2-B2 | 25.4 4.0 82.0
        Focal-Tiny | 29.1 4.9 82.2
        DaViT-Tiny | 28.3 4.5 82.8
        MaxViT-Tiny | 31.0 5.6 83.6
        Dual-Attention-Tiny | 28.7 5.3 83.7
        ResNet-101 | 45.0 7.9 77.4
        PVT-Medium | 44.2 6.7 81.2
        CvT-21 | 32.0 7.1 82.5
        Swin-Small | 49.6 8.7 83.1
        ViL-Medium | 39.7 9.1 83.3
        CaiT-S36 | 68.0 13.9 83.3
        CoAtNet-1 | 42.0 8.4 83.3
        Focal-Small | 51.1 9.1 83.5
        CSwin-S | 35.0 6.9 83.6
        VAN-Large | 44.8 9.0 83.9
        UniFormer-B | 50.0 8.3 83.9
        DaViT-Small | 49.7 8.8 84.2
        Dual-Attention-Small | 51.2 9.1 84.4
        ResNet-152 | 60.0 11.0 78.3
        PVT-Large | 61.4 9.8 81.7
        DeiT-Base/16 | 86.7 17.4 81.8
        CrossViT-Base | 104.7 21.2 82.2
        T2T-ViT-24 | 64.1 14.1 82.3
        CPVT-Base | 88.0 17.6 82.3
        PoolFormer-M48 | 73.0 11.9 82.5
        TNT-Base | 65.6 14.1 82.8
        ViL-Base | 55.7 13.4 83.2
        UFO-ViT-B | 64.0 11.9 83.3
        Swin-Base | 87.8 15.4 83.4
        CaiT-M24 | 185.9 36.0 83.4
        PyramidTNT-M | 85.0 8.2 83.5
        NFNet-F0 | 71.5 12.4 83.6
        QnA-Base | 56.0 9.7 83.7
        PVTv2-B5 | 82.0 11.8 83.8
        Focal-Base | 89.8 16.0 83.8
        ConvNeXt-B | 89.0 15.4 83.8
        Shuffle-B | 88.0 15.6 84.0
        CoAtNet-2 | 75.0 15.7 84.1
        CSwin-B | 78.0 15.0 84.2
        MPViT-B | 74.8 16.4 84.3
        GC ViT-B | 90.0 14.8 84.4
        MaxViT-Small | 69.8 11.7 84.5
        DaViT-Base | 87.9 15.5 84.6
        Dual-Attention-Base | 77.8 16.2 84.9
        """,
        _TOP1,
    ),
    'mpt-7': _table(
        'MPT Table VII, COCO with Cascade Mask R-CNN',
        'COCO val2017',
        'AP^b, AP^b_50, AP^b_75, AP^m, AP^m_50, AP^m_75, FLOPs, Params',
        """
        ResNet-50, 1280 x 800 | 46.3 64.3 50.5 40.1 61.7 43.4 739 82
        X101-32, 1280 x 800 | 48.1 66.5 52.4 41.6 63.9 45.2 819 101
        X101-64, 1280 x 800 | 48.3 66.4 52.3 41.7 64.0 45.1 972 140
        ConvNeXt-T, 1280 x 800 | 50.4 69.1 54.8 43.7 66.5 47.3 741 -
        ConvNeXt-S, 1280 x 800 | 51.9 70.8 56.5 45.0 68.4 49.1 827 -
        ConvNeXt-B, 1280 x 800 | 52.7 71.3 57.2 45.6 68.9 49.5 964 -
        Swin-T, 1280 x 800 | 50.4 69.2 54.7 43.7 66.6 47.3 745 86
        Swin-S, 1280 x 800 | 51.9 70.7 56.3 45.0 68.2 48.8 838 107
        Swin-B, 1280 x 800 | 51.9 70.5 56.4 45.0 68.1 48.9 982 145
        As-ViT-L, 1024 x 1024 | 52.7 72.3 57.9 45.2 69.7 49.8 1094 139
        UViT-T, 896 x 896 | 51.1 70.4 56.2 43.6 67.7 47.2 613 47
        UViT-S, 896 x 896 | 51.4 70.8 56.2 44.1 68.2 48.0 744 54
        UViT-B, 896 x 896 | 52.5 72.0 57.6 44.3 68.7 48.3 975 74
        MaxViT-T, 896 x 896 | 52.1 71.9 56.8 44.6 69.1 48.4 475 69
        MaxViT-S, 896 x 896 | 53.1 72.5 58.1 45.4 69.8 49.5 595 107
        Dual-Attention-T, 896 x 896 | 52.8 72.9 57.4 45.5 70.1 49.3 417 87
        Dual-Attention-S, 896 x 896 | 53.3 73.3 58.3 45.7 70.6 49.8 498 123
        """,
        _COCO,
    ),
    'mpt-9': _table(
        'MPT Table IX, ImageNet-1K at 384 x 384',
        'ImageNet val, 384 px',
        'Params, FLOPs, Top-1',
        """
        CvT-21 | 32 24.9 83.30
        Swin-B | 88 47.0 84.50
        CSwin-B | 78 47.0 85.40
        CoAtNet-3 | 168 107.4 85.80
        MaxViT-T | 31 17.7 85.24
        MaxViT-S | 69 36.1 85.74
        Dual-Attention-T | 27.6 15.1 85.67
        Dual-Attention-S | 51.9 27.8 85.85
        Dual-Attention-B | 79.3 53.2 86.21
        """,
        _TOP1,
    ),
    'mpt-10': _table(
        'MPT Table X, COCO with Mask R-CNN',
        'COCO val2017',
        'Params, FLOPs, AP^b, AP^m',
        """
        ResNet50 | 44.2 260 41.0 37.1
        PVT-Small | 44.1 245 43.0 39.9
        ViL-Small | 45 174 43.4 39.6
        Swin-Tiny | 47.8 264 46.0 41.6
        Focal-Tiny | 48.8 291 47.2 42.7
        DaViT-Tiny | 47.8 263 47.4 42.9
        Dual-Attention-T | 47.5 281 48.3 43.2
        ResNeXt101-32x4d | 62.8 340 44.0 39.2
        PVT-Medium | 63.9 302 44.2 40.5
        ViL-Medium | 60.1 261 44.6 40.7
        Swin-Small | 69.1 354 48.5 43.3
        Focal-Small | 71.2 401 48.8 43.8
        DaViT-Small | 69.2 351 49.5 44.3
        Dual-Attention-S | 64.9 369 50.1 44.8
        ResNeXt101-64x4d | 102 493 44.4 39.7
        PVT-Large | 81 364 44.5 40.7
        ViL-Base | 76.1 365 45.7 41.3
        Swin-Base | 107 496 48.5 43.4
        Focal-Base | 110 533 49.0 43.7
        DaViT-Base | 107.3 491 49.9 44.6
        Dual-Attention-B | 99.3 546 50.5 45.0
        """,
        _COCO,
    ),
    'mpt-11': _table(
        'MPT Table XI, CenterPoint on nuScenes, AP by class',
        'nuScenes val',
        ', '.join(_NUSCENES_CLASSES),
        """
        VoxelNet, Second | 0.851 0.526 0.656 0.364 0.191 0.822 0.591 0.409 0.642 0.608
        VoxelNet, Dual-Attention | 0.875 0.544 0.669 0.374 0.190 0.828 0.598 0.426 0.652 0.622
        PointPillars, Second | 0.840 0.500 0.628 0.338 0.125 0.776 0.426 0.174 0.527 0.594
        PointPillars, Dual-Attention | 0.852 0.511 0.643 0.362 0.173 0.791 0.597 0.291 0.595 0.576
        """,
        _NUSCENES_APS,
    ),
    'mpt-12': _table(
        'MPT Table XII, CenterPoint on nuScenes',
        'nuScenes val',
        'mAP, NDS, FPS',
        """
        VoxelNet, Second | 56.59 65.15 14
        VoxelNet, Dual-Attention | 57.78 66.35 21
        PointPillars, Second | 49.27 59.58 11
        PointPillars, Dual-Attention | 53.91 63.51 17
        """,
        _NUSCENES,
    ),
    'mpt-13': _table(
        'MPT Table XIII, SECOND on KITTI, AP11 of three classes',
        'KITTI val',
        ', '.join(f'{name} {level}' for name in ('bbox', 'bev', '3d', 'aos') for level in ('easy', 'moderate', 'hard')),
        """
        Second | 82.59 77.82 75.67 79.87 72.53 68.60 75.59 65.19 62.03 80.68 75.53 73.33
        Dual-Attention | 82.85 78.59 75.76 80.95 73.55 69.00 77.16 67.33 63.15 80.83 76.34 73.41
        """,
        _KITTI,
    ),
}
